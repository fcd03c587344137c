/**
 * Small apps for the tests, as sources of `app.mjs`. Each is an honest Node program that a person could have written;
 * what it does wrong is the point of it.
 */

const server = (listen: string, handler = `response.end('ok')`): string => `
import { createServer } from 'node:http'
const server = createServer((request, response) => { ${handler} })
${listen}
`

const PORT = 'Number(process.env.DATABRICKS_APP_PORT)'

/** Answers what it knows of itself; GET /exit?code=3 and /crash end it. */
export const wellBehaved = `
import { createServer } from 'node:http'
import { readdirSync, writeFileSync } from 'node:fs'
createServer((request, response) => {
  const url = new URL(request.url, 'http://app')
  if (url.pathname === '/exit') return response.end('bye', () => process.exit(Number(url.searchParams.get('code'))))
  if (url.pathname === '/crash') return process.kill(process.pid, 'SIGKILL')
  if (url.pathname === '/write') writeFileSync('written', 'here')
  if (url.pathname === '/say') console.log(url.searchParams.get('words'))
  response.end(JSON.stringify({ pid: process.pid, cwd: process.cwd(), env: process.env, args: process.argv.slice(2), files: readdirSync('.') }))
}).listen(${PORT}, '0.0.0.0', () => console.log('listening'))
process.on('SIGTERM', () => { console.log('got SIGTERM'); process.exit(0) })
`

/** Healthy, until it has answered somebody who is not a health check. */
export const closesItsServer = `
import { createServer } from 'node:http'
setInterval(() => {}, 1_000)
const server = createServer((request, response) => {
  response.end('ok')
  if (request.headers['user-agent'] !== 'coppice-health') server.close()
}).listen(${PORT}, '0.0.0.0')
`

export const onIpv6 = server(`server.listen(${PORT}, '::')`)
export const onIpv6LoopbackOnly = server(`server.listen(${PORT}, '::1')`)
export const onLoopbackOnly = server(`server.listen(${PORT}, '127.0.0.1')`)
export const onAnotherPort = server(`server.listen(Number(process.env.WRONG_PORT), '0.0.0.0')`)
export const listensNowhere = `console.log('busy with something else'); setInterval(() => {}, 1_000)`
export const answers500 = server(
  `server.listen(${PORT}, '0.0.0.0')`,
  `response.statusCode = 500; response.end('broken')`,
)
export const answers404 = server(
  `server.listen(${PORT}, '0.0.0.0')`,
  `response.statusCode = 404; response.end('nothing')`,
)
export const neverAnswers = server(`server.listen(${PORT}, '0.0.0.0')`, `console.log('got a request')`)
export const crashesAtStart = `console.error('Error: no database'); process.exitCode = 3`
export const listensAfter = (ms: number): string => server(`setTimeout(() => server.listen(${PORT}, '0.0.0.0'), ${ms})`)
export const healthyAfter = (ms: number): string =>
  server(
    `const begun = Date.now(); server.listen(${PORT}, '0.0.0.0')`,
    `response.statusCode = Date.now() - begun < ${ms} ? 503 : 200; response.end()`,
  )

/** Ignores SIGTERM, and so do its children: one in its group, one in a session of its own, one that lost its parent. */
export const hardToEnd = `
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
const stubborn = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('child ' + process.pid)"
spawn(process.execPath, ['-e', stubborn], { stdio: 'inherit' })
spawn(process.execPath, ['-e', stubborn], { stdio: 'inherit', detached: true })
spawn('sh', ['-c', 'setsid "$0" -e "$1" & exit 0', process.execPath, stubborn], { stdio: 'inherit' })
process.on('SIGTERM', () => console.log('not going'))
createServer((_, response) => response.end('ok')).listen(${PORT}, '0.0.0.0')
`

/** Never healthy, and it says of SIGTERM only that it came. */
export const sickAndHardToEnd = `
process.on('SIGTERM', () => console.log('not going'))
${answers500}`

/** A parent and a child that accept from one socket, as servers with workers do; says who the child is. */
export const forksWorker = `
import { fork } from 'node:child_process'
import { createServer } from 'node:http'
const server = createServer((_, response) => response.end(String(process.pid)))
if (process.send) process.on('message', (message, handle) => server.listen(handle, () => console.log('child ' + process.pid)))
else server.listen(${PORT}, '0.0.0.0', () => fork('app.mjs').send('serve', server))
`

/** GET /block keeps it busy until the file `go-on` is in its working directory; it hears no SIGTERM meanwhile. */
export const canBlock = `
import { createServer } from 'node:http'
import { existsSync } from 'node:fs'
createServer((request, response) => {
  if (request.url === '/block') {
    console.log('blocking')
    while (!existsSync('go-on'));
  }
  response.end(String(process.pid))
}).listen(${PORT}, '0.0.0.0')
`
