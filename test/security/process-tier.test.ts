import { mkdir, writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask } from '../helpers/load.ts'
import { Platform } from '../helpers/platform.ts'

/**
 * The cells of the table in docs/security.md, each as an app meets it. What the process tier does not keep apart is
 * tested as well: the day it does, the document has to say so.
 */
let platform: Platform
let probe: Instance
let sibling: Instance

type Instance = { id: string; pid: number; address: string }
type Told = { error?: string; text?: string; names?: string[]; env?: Record<string, string> }

beforeAll(async () => {
  platform = await Platform.start({ env: { COPPICE_TEST_PLANTED: 'of the worker' } })
  for (const name of ['probe', 'sibling']) {
    await writeProbe(name)
    const { state, failure } = await platform.deploy(name, {
      instances: 1,
      body: { env_vars: [{ name: 'PLANTED', value: `value of ${name}` }] },
    })
    expect(failure).toBeUndefined()
    expect(state).toBe('SUCCEEDED')
  }
  probe = await instanceOf('probe')
  sibling = await instanceOf('sibling')
})
afterAll(() => platform?.stop())

describe('files', () => {
  it('R13.4 R1.5 an app has directories of its own, and cannot write into sealed artifacts', async () => {
    const { env = {} } = await tell('probe', 'env')
    for (const path of [env.HOME, env.TMPDIR, env.PWD])
      expect(path).toContain(join(platform.stack.home, 'instances', probe.id))
    const artifacts = join(platform.stack.home, 'artifacts')
    const { text } = await tell('probe', 'find', artifacts, 'server.mjs')
    expect(text).toMatch(/server\.mjs$/)
    expect((await tell('probe', 'write', text as string)).error).toMatch(/EACCES|EROFS|EPERM/)
  })

  it("R13.4 is not kept from the platform's own files, nor from a sibling's: same user", async () => {
    const token = await tell('probe', 'read', join(platform.stack.home, 'token'))
    expect(token.text?.trim()).toBe(platform.stack.token)
    const home = await tell('probe', 'list', join(platform.stack.home, 'instances', sibling.id, 'work'))
    expect(home.names).toContain('server.mjs')
  })
})

describe('environment', () => {
  it('R13.4 R3.7 an app gets its own variables, and none of the worker or of another app', async () => {
    const { env = {} } = await tell('probe', 'env')
    expect(env.PLANTED).toBe('value of probe')
    expect(JSON.stringify(env)).not.toContain('of the worker')
    expect(JSON.stringify(env)).not.toContain('value of sibling')
    expect(JSON.stringify(env)).not.toContain(platform.stack.token)
    expect(Object.keys(env).filter((name) => /TOKEN|TEMPORAL|COPPICE_HOME$/.test(name))).toEqual([])
  })

  it.runIf(process.platform === 'linux')("R13.4 is not kept from reading a sibling's in /proc: same user", async () => {
    const { text } = await tell('probe', 'read', `/proc/${sibling.pid}/environ`)
    expect(text).toContain('PLANTED=value of sibling')
  })
})

describe('siblings', () => {
  it.runIf(process.platform === 'linux')(
    'R13.4 an app has a process group of its own, so that a signal to it reaches no other',
    async () => {
      expect((await tell('probe', 'group')).text).toBe(String(probe.pid))
      expect((await tell('sibling', 'group')).text).toBe(String(sibling.pid))
    },
  )

  it('R13.4 is not kept from signalling a sibling: same user', async () => {
    expect((await tell('probe', 'signal', String(sibling.pid))).error).toBeUndefined()
  })
})

describe('Temporal and the API', () => {
  it('R13.4 an app is not told where Temporal is, but is not kept from connecting to it: loopback, no credential', async () => {
    const { env = {} } = await tell('probe', 'env')
    expect(JSON.stringify(env)).not.toContain(platform.stack.temporalAddress)
    expect((await tell('probe', 'connect', platform.stack.temporalAddress)).error).toBeUndefined()
  })

  it('R13.4 R13.5 the API answers an app without the token with 401', async () => {
    expect((await tell('probe', 'fetch', `${platform.stack.apiUrl}/api/2.0/apps`)).text).toBe('401')
  })
})

describe('network', () => {
  const outside = Object.values(networkInterfaces())
    .flatMap((found) => found ?? [])
    .find((found) => found.family === 'IPv4' && !found.internal)?.address

  it.runIf(outside)('R13.5 only apps listen beyond loopback, and those are reached around the router', async () => {
    const reaches = async (port: number | string) => (await ask(`http://${outside}:${port}/env`)).status
    const { port, apiPort, temporalPort } = platform.stack.options
    for (const closed of [port, apiPort, temporalPort]) expect(await reaches(closed)).toBe(0)
    expect(await reaches(probe.address.split(':').at(-1) as string)).toBe(200)
  })
})

async function instanceOf(app: string): Promise<Instance> {
  const { body } = await platform.stack.api('GET', `/api/coppice/v1/apps/${app}/instances`)
  return body.instances[0]
}

/** What the app found when it did `what`. */
async function tell(app: string, what: string, ...args: string[]): Promise<Told> {
  const query = args.map((arg) => `arg=${encodeURIComponent(arg)}`).join('&')
  const answer = await platform.ask(app, { path: `/${what}?${query}` })
  expect(answer.status).toBe(200)
  return answer.body as Told
}

/** An app that tries whatever it is asked to. */
async function writeProbe(name: string): Promise<void> {
  const folder = join(platform.sources, name)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, type: 'module' }))
  await writeFile(join(folder, 'app.yaml'), 'command: [node, server.mjs]\n')
  await writeFile(
    join(folder, 'server.mjs'),
    `import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
const TRY = {
  env: () => ({ env: { ...process.env, PWD: process.cwd() } }),
  read: (path) => ({ text: readFileSync(path, 'utf8') }),
  list: (path) => ({ names: readdirSync(path) }),
  find: (path, name) => ({ text: readdirSync(path, { recursive: true }).map((found) => path + '/' + found).find((found) => found.endsWith('/' + name)) }),
  write: (path) => ({ text: String(writeFileSync(path, 'changed')) }),
  group: () => ({ text: readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')[2] }),
  signal: (pid) => ({ text: String(process.kill(Number(pid), 0)) }),
  fetch: async (url) => ({ text: String((await fetch(url)).status) }),
  connect: (address) => new Promise((resolve) => {
    const [host, port] = address.split(':')
    const socket = connect(Number(port), host, () => { socket.destroy(); resolve({}) })
    socket.on('error', (error) => resolve({ error: error.message }))
  }),
}
createServer(async (request, response) => {
  const url = new URL(request.url, 'http://app')
  const attempt = TRY[url.pathname.slice(1)] ?? (() => ({}))
  const told = await Promise.resolve().then(() => attempt(...url.searchParams.getAll('arg'))).catch((error) => ({ error: error.message }))
  response.setHeader('content-type', 'application/json').end(JSON.stringify(told))
}).listen(Number(process.env.DATABRICKS_APP_PORT), '0.0.0.0')
`,
  )
}
