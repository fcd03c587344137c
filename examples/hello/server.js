// Says who answers. Every instance counts its own requests, so it is easy to see which one you reached.
//
//   /            a page for browsers, JSON for everybody else
//   /?slow=500   answers after 500 ms
//   /?fail=503   answers with that status
//   /events      server-sent events, one a second
//   /healthz     ok
//   /crash       ends the process
import { createServer } from 'node:http'

const { COPPICE_APP, COPPICE_INSTANCE_ID, COPPICE_SLOT, COPPICE_DEPLOYMENT, DATABRICKS_APP_NAME } = process.env
const version = process.env.HELLO_VERSION ?? '1'
const port = Number(process.env.DATABRICKS_APP_PORT ?? 8000)
const streams = new Set()
let count = 0

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://app')
  if (url.pathname === '/healthz') return response.end('ok\n')
  if (url.pathname === '/crash') process.exit(1)
  if (url.pathname === '/events') return sendEvents(response)

  // The platform asks every second whether this instance is well; that is nobody's request.
  if (!request.headers['user-agent']?.startsWith('coppice-')) count += 1
  const facts = {
    app: COPPICE_APP ?? DATABRICKS_APP_NAME ?? 'hello',
    instance: COPPICE_INSTANCE_ID ?? 'local',
    slot: Number(COPPICE_SLOT ?? 0),
    deployment: COPPICE_DEPLOYMENT ?? 'none',
    version,
    count,
    pid: process.pid,
    requestId: request.headers['x-request-id'] ?? null,
    attempt: request.headers['x-attempt'] ?? null,
  }
  request.resume()
  await waitFor(Math.min(numberOf(url, 'slow') ?? 0, 60_000))
  const status = numberOf(url, 'fail') ?? 200
  response.statusCode = status >= 200 && status <= 599 ? status : 500
  response.setHeader('Cache-Control', 'no-store')
  if (request.headers.accept?.includes('text/html')) {
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(page(facts))
  } else {
    response.setHeader('Content-Type', 'application/json')
    response.end(`${JSON.stringify(facts)}\n`)
  }
})

server.listen(port, '0.0.0.0', () => console.log(`hello ${version} listens on 0.0.0.0:${port}`))

// The platform sends SIGTERM and waits 15 seconds: take nothing new, finish what is in flight, go.
process.on('SIGTERM', () => {
  console.log('SIGTERM: finishing what is in flight')
  for (const stream of streams) stream.end()
  server.close(() => process.exit(0))
  // A connection that was busy becomes idle when its answer is out, and would keep the server open.
  setInterval(() => server.closeIdleConnections(), 50)
})

function sendEvents(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  let id = 0
  const send = () =>
    response.write(`id: ${++id}\ndata: ${JSON.stringify({ instance: COPPICE_INSTANCE_ID ?? 'local', id })}\n\n`)
  send()
  const timer = setInterval(send, 1000)
  streams.add(response)
  response.on('close', () => {
    clearInterval(timer)
    streams.delete(response)
  })
}

function page(facts) {
  const hue = (facts.slot * 67 + 150) % 360
  const rows = Object.entries(facts).map(([name, value]) => `<tr><th>${escaped(name)}<td>${escaped(value ?? '–')}`)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(facts.app)}, slot ${facts.slot}</title>
<style>
  body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
  h1 { border-left: .6rem solid hsl(${hue} 60% 45%); padding-left: .8rem }
  th { text-align: left; font-weight: 600; padding-right: 2rem }
</style>
<h1>Hello from slot ${facts.slot}</h1>
<table>${rows.join('\n')}</table>
<p>Reload: the count grows, because your browser stays with this instance.</p>
</html>
`
}

function numberOf(url, name) {
  const number = Number(url.searchParams.get(name) ?? Number.NaN)
  return Number.isInteger(number) ? number : undefined
}

function waitFor(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function escaped(value) {
  return String(value).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
