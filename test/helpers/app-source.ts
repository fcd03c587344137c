/** Small apps with one fault each, written where a stack of a test may deploy from. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What the app does instead of serving well. `VERSION` answers on every path and counts its requests. */
export type Behaviour =
  | 'serves'
  | 'crashes at start'
  | 'listens on another port'
  | 'listens on loopback only'
  | 'answers 500'
  | 'never answers'
  | 'does not listen'
  | 'crashes in slots but the first'
  | 'ignores SIGTERM and forks'
  | 'serves at its first start only'
  | 'starts slowly'
  | 'starts after a minute'
  | 'drains slowly'
  | 'can deadlock'

const LISTEN = (address: string, port: string) => `
const started = Date.now()
const server = createServer((request, response) => {
  const slow = Number(new URL(request.url, 'http://app').searchParams.get('slow') ?? 0)
  response.setHeader('content-type', 'application/json')
  const body = JSON.stringify({ version: VERSION, instance: process.env.COPPICE_INSTANCE_ID, slot: Number(process.env.COPPICE_SLOT), pid: process.pid, started })
  setTimeout(() => { response.statusCode = STATUS; response.end(body) }, slow)
})
server.listen(${port}, '${address}', () => console.log('listening'))
process.on('SIGTERM', () => { server.close(() => process.exit(0)); setInterval(() => server.closeIdleConnections(), 20) })
`
const PORT = 'Number(process.env.DATABRICKS_APP_PORT)'

const CODE: Record<Behaviour, string> = {
  serves: LISTEN('0.0.0.0', PORT),
  'crashes at start': `console.error('cannot find my configuration'); process.exit(3)`,
  'listens on another port': LISTEN('0.0.0.0', `${PORT} + 10000`),
  'listens on loopback only': LISTEN('127.0.0.1', PORT),
  'answers 500': LISTEN('0.0.0.0', PORT).replace('STATUS', '500'),
  'never answers': `createServer(() => {}).listen(${PORT}, '0.0.0.0')`,
  'does not listen': `console.log('thinking'); setInterval(() => {}, 1000)`,
  'crashes in slots but the first': `if (process.env.COPPICE_SLOT !== '0') { console.error('no room in slot ' + process.env.COPPICE_SLOT); process.exit(4) }
${LISTEN('0.0.0.0', PORT)}`,
  'ignores SIGTERM and forks': `
import { spawn } from 'node:child_process'
const child = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"
spawn(process.execPath, ['-e', child], { stdio: 'ignore' })
spawn(process.execPath, ['-e', child], { stdio: 'ignore', detached: true }).unref()
${LISTEN('0.0.0.0', PORT).replace(/process\.on\('SIGTERM'.*\n/, "process.on('SIGTERM', () => {})\n")}`,
  'serves at its first start only': `
const mark = FOLDER + '.' + process.env.COPPICE_INSTANCE_ID
if (existsSync(mark)) { console.error('cannot start twice'); process.exit(5) }
writeFileSync(mark, '')
${LISTEN('0.0.0.0', PORT)}`,
  // For what has to happen while it starts, however slow the machine is.
  'starts after a minute': `await new Promise((resolve) => setTimeout(resolve, 60_000))\n${LISTEN('0.0.0.0', PORT)}`,
  'starts slowly': `await new Promise((resolve) => setTimeout(resolve, 2500))\n${LISTEN('0.0.0.0', PORT)}`,
  'drains slowly': LISTEN('0.0.0.0', PORT),
  // On /deadlock; after that it neither answers nor hears SIGTERM.
  'can deadlock': LISTEN('0.0.0.0', PORT).replace(
    'const slow',
    `if (request.url === '/deadlock') { console.log('deadlock'); for (;;); }\n  const slow`,
  ),
}

export type AppSource = {
  behaviour?: Behaviour
  version?: string
  /** A dependency that cannot be installed. */
  brokenInstall?: boolean
  /** A `build` script. */
  build?: string
}

/** Writes the folder `name` under `root`, over whatever was there. */
export async function writeApp(root: string, name: string, source: AppSource = {}): Promise<string> {
  const folder = join(root, name)
  await mkdir(folder, { recursive: true })
  const manifest = {
    name,
    private: true,
    type: 'module',
    scripts: { start: 'node server.mjs', ...(source.build !== undefined && { build: source.build }) },
    ...(source.brokenInstall && { dependencies: { broken: 'file:./not-there.tgz' } }),
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await writeFile(join(folder, 'app.yaml'), 'command: [node, server.mjs]\n')
  await writeFile(
    join(folder, 'server.mjs'),
    `import { existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
const FOLDER = ${JSON.stringify(folder)}
const VERSION = ${JSON.stringify(source.version ?? '1')}
const STATUS = 200
${CODE[source.behaviour ?? 'serves'].replaceAll('response.statusCode = STATUS', source.behaviour === 'answers 500' ? 'response.statusCode = 500' : 'response.statusCode = STATUS')}
`,
  )
  return name
}
