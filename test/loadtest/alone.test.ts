/** The scripts alone against a URL, and the command line around them. */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'

let k6: string
let folder: string
beforeAll(async () => {
  k6 = (await resolveTool('k6')).path
  folder = await mkdtemp(join(tmpdir(), 'coppice-loadtest-alone-'))
}, 600_000)
afterAll(() => removeTree(folder))

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

/** Somebody else's app on somebody else's platform. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

type Ended = { code: number; output: string }

function runProgram(program: string, args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd: ROOT }, (error, stdout, stderr) => {
      const { code = 0 } = (error ?? {}) as { code?: number }
      resolve({ code, output: stdout + stderr })
    })
  })
}

const alone = (url: string, script: string, ...more: string[]) => {
  const settings = [`APP_URL=${url}`, 'DURATION=3s', 'RATE=40', ...more].flatMap((setting) => ['-e', setting])
  return runProgram(k6, [
    'run',
    '-q',
    '--no-usage-report',
    '--address',
    '127.0.0.1:0',
    ...settings,
    `loadtest/${script}`,
  ])
}

/** Sticks by a cookie of its own name, and says who it is in a header. */
const sticky: RequestListener = (request, response) => {
  const known = /route=(\w+)/.exec(request.headers.cookie ?? '')?.[1]
  const instance = known ?? (Math.random() < 0.5 ? 'a' : 'b')
  if (known === undefined) response.setHeader('set-cookie', `route=${instance}; Path=/`)
  response.setHeader('x-instance', instance)
  response.end('hello')
}

const FOREIGN = ['COOKIE_NAME=route', 'CLIENTS=browser', 'INSTANCE_AT=header:X-Instance', 'SLOT_AT=', 'VERSION_AT=']

describe('a script alone', () => {
  it('R11.2 proves the affinity of an app that knows nothing of us, by cookie and header of its own names', async () => {
    const methods = new Set<string | undefined>()
    const url = await serve((request, response) => {
      methods.add(request.method)
      sticky(request, response)
    })
    const { code, output } = await alone(url, 'affinity.ts', ...FOREIGN)
    expect(output).toContain('✓ affinity_broken: 0')
    expect(code, output).toBe(0)
    expect(methods).toEqual(new Set(['GET']))
  })

  it('R11.1 ends with k6’s own code, and names the metric, where clients do not stay', async () => {
    const url = await serve((_request, response) => {
      response.setHeader('set-cookie', 'route=x; Path=/')
      response.setHeader('x-instance', Math.random() < 0.5 ? 'a' : 'b')
      response.end('hello')
    })
    const { code, output } = await alone(url, 'affinity.ts', ...FOREIGN)
    expect(output).toMatch(/✗ affinity_broken: \d+ answers from elsewhere/)
    expect(code).toBe(99)
  })

  it('R11.4 shows no tick, and fails, where no answer says which instance gave it', async () => {
    const url = await serve((_request, response) => void response.end('hello'))
    const { code, output } = await alone(url, 'affinity.ts', 'COOKIE_NAME=route', 'CLIENTS=browser')
    expect(output).toMatch(/\? affinity_broken: 0/)
    expect(output).not.toContain('✓ affinity_broken')
    expect(output).toContain('✓ lost_repeatable: 0')
    expect(output).toMatch(
      /Harness unfit: (\d+) of \1 good answers did not say which instance gave them \(INSTANCE_AT\)/,
    )
    expect(code).toBe(99)
  })

  it('R11.4 shows no tick at all, and fails, where visits could not begin in time', async () => {
    const url = await serve((request, response) => void setTimeout(() => sticky(request, response), 1_000))
    const { code, output } = await alone(url, 'affinity.ts', ...FOREIGN, 'VUS=1')
    expect(output).toMatch(/Harness unfit: \d+ visits could not begin in time/)
    expect(output).toMatch(/\? affinity_broken: 0/)
    expect(output).not.toContain('✓')
    expect(code).toBe(99)
  })

  it('R11.1 counts a version that comes back after a newer one', async () => {
    let asked = 0
    const url = await serve((_request, response) => {
      asked += 1
      response.end(JSON.stringify({ instance: 'a', version: asked > 20 && asked % 3 > 0 ? '2' : '1' }))
    })
    const { code, output } = await alone(url, 'deploy.ts', 'VUS=5')
    expect(output).toMatch(/✗ old_version_after_new: \d+/)
    expect(code).toBe(99)
  })

  it('R11.1 counts requests that get no good answer', async () => {
    const url = await serve((_request, response) => {
      response.statusCode = Math.random() < 0.1 ? 502 : 200
      response.end('{"instance":"a"}')
    })
    const { code, output } = await alone(url, 'failover.ts')
    expect(output).toMatch(/✗ lost_repeatable: \d+/)
    expect(code).toBe(99)
  })

  it('says what is missing without a URL', async () => {
    const { code, output } = await runProgram(k6, ['run', '-q', '--address', '127.0.0.1:0', 'loadtest/affinity.ts'])
    expect(output).toContain('APP_URL is missing')
    expect(code).not.toBe(0)
  })
})

/** Command lines of those that have it in there, or in their environment. */
async function processesThatKnow(path: string): Promise<string[]> {
  const found: string[] = []
  // Elsewhere than on Linux only the folder tells.
  if (!existsSync('/proc')) return []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (file: string) => readFile(join('/proc', pid, file), 'utf8').catch(() => '')
    const command = await read('cmdline')
    if (`${command}${await read('environ')}`.includes(path)) found.push(command.replaceAll('\0', ' '))
  }
  return found
}

describe('npm run loadtest', () => {
  const run = (...args: string[]) => runProgram(process.execPath, ['loadtest/run.ts', ...args])

  it('tells which scenarios there are, and refuses others with code 2', async () => {
    const help = await run('--help')
    expect(help.code).toBe(0)
    expect(help.output).toContain('failover')
    const unknown = await run('nonsense')
    expect(unknown.code).toBe(2)
    expect(unknown.output).toContain('there is no scenario nonsense')
    expect((await run('affinity', '--rate', 'fast')).code).toBe(2)
  })

  it('R11.2 R11.3 interrupted, it stops k6 and the stack, and still writes the report', async () => {
    const out = join(folder, 'interrupted')
    const temporary = await mkdtemp(join(folder, 'tmp-'))
    const child = spawn(process.execPath, ['loadtest/run.ts', 'affinity', '--quick', '--out', out], {
      cwd: ROOT,
      env: { ...process.env, TMPDIR: temporary },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
    const history = join(out, 'affinity', 'history.txt')
    await expect
      .poll(async () => existsSync(history) && (await readFile(history, 'utf8')).length, {
        timeout: 60_000,
        interval: 100,
      })
      .toBeGreaterThan(1_000)
    // npm passes on what the terminal has sent already.
    child.kill('SIGINT')
    child.kill('SIGTERM')
    const [code] = await once(child, 'close')
    expect(code, output).toBe(130)
    expect(output).toContain('interrupted')
    expect(await readFile(join(out, 'report.html'), 'utf8')).toContain('Nothing proved')
    expect(await processesThatKnow(temporary)).toEqual([])
    expect(await readdir(temporary)).toEqual([])
  })
})
