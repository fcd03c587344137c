import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { toolFolder } from '../../scripts/toolchain/cache.ts'
import { TOOLS } from '../../scripts/toolchain/tools.ts'
import { writeApp } from '../helpers/app-source.ts'
import { startTestStack, type TestStack } from '../helpers/stack.ts'
import { coppice, type Ran, run, startPlatform } from './cli.ts'

let stack: TestStack
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-cli-'))
  stack = await startTestStack()
})
afterAll(async () => {
  await stack?.stop()
  await removeTree(folder)
})

const app = async (name: string, source: Parameters<typeof writeApp>[2] = {}) => {
  await writeApp(folder, name, source)
  return join(folder, name)
}
const answer = async (url: string): Promise<string> => (await fetch(url)).text()
const lastOperation = async (name: string) =>
  (await stack.api('GET', `/api/coppice/v1/operations?app=${name}`)).body.operations[0]

describe('R3.8 coppice apps deploy', () => {
  let deployed: Ran

  beforeAll(async () => {
    const source = await app('own', { version: 'mine' })
    await writeFile(join(source, '.gitignore'), 'private.txt\n')
    await writeFile(join(source, 'private.txt'), 'not for upload')
    deployed = await coppice(['apps', 'deploy', 'own', '--instances', '2'], { home: stack.home, cwd: source }).ended
  })

  it('deploys the folder one stands in with one command: creates, uploads, runs, prints the URL that works here', async () => {
    expect(deployed).toMatchObject({ code: 0 })
    const url = deployed.out.trim()
    expect(await answer(url)).toContain('"version":"mine"')
    expect((await stack.api('GET', '/api/2.0/apps/own')).body.app_status.running_instances).toBe(2)
  })

  it('leaves out what .gitignore names', () => {
    expect(deployed.err).toMatch(/Uploaded .*own \(4 files/)
  })

  it('R9.3 shows each step in plain words with its time, and the result alone on stdout', () => {
    expect(deployed.err).toMatch(/✓ Build the artifact \([\d.]+ m?s\)/)
    expect(deployed.err).toMatch(/✓ Start the build instance .*\([\d.]+ m?s\)/)
    expect(deployed.out.trim().split('\n')).toHaveLength(1)
  })

  it('R3.7 gives variables to the app, from the command line and from the environment, and shows none of the values', async () => {
    const source = await app('vars')
    await writeFile(
      join(source, 'server.mjs'),
      `import { createServer } from 'node:http'
createServer((_, response) => response.end(process.env.GIVEN + '/' + process.env.TAKEN)).listen(process.env.DATABRICKS_APP_PORT, '0.0.0.0')`,
    )
    const ran = await coppice(['apps', 'deploy', 'vars', '--source', source, '--env', 'GIVEN=a=b', '--env', 'TAKEN'], {
      home: stack.home,
      env: { TAKEN: 'from-here' },
    }).ended
    expect(ran.code).toBe(0)
    expect(await answer(ran.out.trim())).toBe('a=b/from-here')
    expect(ran.out + ran.err).not.toContain('from-here')
    const shown = await run(stack, '-o', 'json', 'apps', 'get', 'vars')
    expect(JSON.parse(shown.out).active_deployment.env_vars).toEqual([{ name: 'GIVEN' }, { name: 'TAKEN' }])
  })

  it('R3.3 of a version that crashes prints step, cause and last log lines, exits 1, and the old version serves on', async () => {
    const source = await app('own-broken', { behaviour: 'crashes at start' })
    const ran = await run(stack, 'apps', 'deploy', 'own', '--source', source)
    expect(ran.code).toBe(1)
    expect(ran.err).toMatch(/failed at the step "Start the build instance/)
    expect(ran.err).toContain('exit code 3')
    expect(ran.err).toContain('  | cannot find my configuration')
    expect(ran.out).toBe('')
    expect(await answer(deployed.out.trim())).toContain('"version":"mine"')
  })

  it('with --output json says the same to programs', async () => {
    const ran = await run(stack, '-o', 'json', 'apps', 'deploy', 'own', '--source', join(folder, 'own-broken'))
    expect(ran.code).toBe(1)
    expect(JSON.parse(ran.out)).toMatchObject({
      state: 'FAILED',
      failure: { code: 'AppCrashedAtStart', log_lines: expect.arrayContaining(['cannot find my configuration']) },
    })
    expect(ran.err).toBe('')
  })

  it('does not change the number of instances, and says so before it uploads', async () => {
    const ran = await run(stack, 'apps', 'deploy', 'own', '--source', join(folder, 'own'), '--instances', '3')
    expect(ran.code).toBe(2)
    expect(ran.err).toContain('own has 2')
    expect(ran.err).not.toContain('Uploaded')
  })

  it('R13.3 refuses a file over 10 MB by its name, before the app is created', async () => {
    const source = await app('big')
    await writeFile(join(source, 'model.bin'), Buffer.alloc(10_485_761))
    const ran = await run(stack, 'apps', 'deploy', 'big', '--source', source)
    expect(ran.code).toBe(2)
    expect(ran.err).toContain('model.bin')
    expect((await stack.api('GET', '/api/2.0/apps/big')).status).toBe(404)
  })
})

describe('waiting for an operation', () => {
  it('Ctrl-C ends the waiting, not the operation, and tells how to watch and to cancel it', async () => {
    const source = await app('slow', { behaviour: 'starts slowly' })
    const waiting = coppice(['apps', 'deploy', 'slow', '--source', source], { home: stack.home })
    await waiting.says('Build the artifact')
    waiting.signal('SIGINT')
    const { code, err } = await waiting.ended
    expect(code).toBe(130)
    const { id } = await lastOperation('slow')
    expect(err).toContain(`coppice operations watch ${id}`)
    expect(err).toContain(`coppice operations cancel ${id}`)
    const watched = await run(stack, 'operations', 'watch', id)
    expect(watched).toMatchObject({ code: 0, out: 'The deploy of slow succeeded.\n' })
    expect(watched.err).toContain('Start the build instance')
  })

  it('R10.4 a cancellation is watched to its end: the old version serves, exit code 0', async () => {
    const source = await app('slower', { behaviour: 'starts after a minute' })
    const started = await run(stack, '-o', 'json', 'apps', 'deploy', 'slow', '--source', source, '--no-wait')
    const { operation } = JSON.parse(started.out)
    const refused = await run(stack, 'apps', 'restart', 'slow')
    expect(refused.code).toBe(4)
    expect(refused.err).toContain(`deploy (${operation}) by admin`)
    const cancelled = await run(stack, 'operations', 'cancel', operation)
    expect(cancelled).toMatchObject({ code: 0, out: expect.stringContaining('everything is as before') })
    expect((await run(stack, 'operations', 'cancel', operation)).code).toBe(4)
    expect((await stack.api('GET', '/api/2.0/apps/slow')).body.app_status.state).toBe('RUNNING')
  })

  it('R10.2 goes on through the death of the control plane', async () => {
    const source = await app('patient', { behaviour: 'starts slowly' })
    const waiting = coppice(['apps', 'deploy', 'patient', '--source', source], { home: stack.home })
    await waiting.says('Build the artifact')
    stack.kill('control', 'SIGKILL')
    expect(await waiting.ended).toMatchObject({ code: 0 })
  })
})

describe('the verbs', () => {
  it('stop, start, restart and delete an app, each waiting for its end', async () => {
    const { out: url } = await run(stack, 'apps', 'url', 'own')
    expect(await run(stack, 'apps', 'stop', 'own')).toMatchObject({ code: 0, out: expect.stringContaining('STOPPED') })
    expect((await fetch(url.trim())).status).toBe(503)
    expect(await run(stack, 'apps', 'start', 'own')).toMatchObject({ code: 0 })
    expect(await answer(url.trim())).toContain('mine')
    const before = JSON.parse((await run(stack, '-o', 'json', 'apps', 'get', 'own')).out).instances
    expect(await run(stack, 'apps', 'restart', 'own')).toMatchObject({ code: 0 })
    const after = JSON.parse((await run(stack, '-o', 'json', 'apps', 'get', 'own')).out).instances
    expect(after.map((one: { slot: number }) => one.slot)).toEqual([0, 1])
    expect(after.map((one: { id: string }) => one.id)).not.toEqual(before.map((one: { id: string }) => one.id))
    expect(await run(stack, 'apps', 'delete', 'vars')).toMatchObject({ code: 0, out: 'vars is deleted.\n' })
    expect((await run(stack, 'apps', 'get', 'vars')).code).toBe(4)
  })

  it('R10.3 right after "finished" the next operation is accepted', async () => {
    for (let round = 0; round < 4; round++)
      for (const type of ['stop', 'start']) expect(await run(stack, 'apps', type, 'own')).toMatchObject({ code: 0 })
  })

  it('logs shows what the instances wrote, one chosen by its slot', async () => {
    const all = await run(stack, 'apps', 'logs', 'own')
    expect(all.out.match(/listening/g)).toHaveLength(2)
    const one = await run(stack, 'apps', 'logs', 'own', '--instance', '1')
    expect(one.out).toContain('listening')
    expect(one.out.match(/listening/g)).toHaveLength(1)
    const none = await run(stack, 'apps', 'logs', 'own', '--instance', '7')
    expect(none.code).toBe(4)
  })

  it('operations list and get tell the history with its steps', async () => {
    const { out } = await run(stack, 'operations', 'list', '--app', 'own')
    expect(out).toMatch(/deploy +SUCCEEDED/)
    expect(out).toMatch(/deploy +FAILED/)
    const { id } = await lastOperation('own')
    expect((await run(stack, 'operations', 'get', id)).out).toMatch(/done +[\d.]+ m?s {2}Switch over/)
  })
})

describe('exit codes', () => {
  it('2 for a wrong command line, with what is wrong', async () => {
    for (const args of [
      ['apps', 'creat'],
      ['apps', 'create'],
      ['apps', 'create', 'ok', '--instances', 'two'],
      ['--nope'],
    ]) {
      const ran = await run(stack, ...args)
      expect(ran.code).toBe(2)
      expect(ran.err).toContain('error:')
    }
  })

  it('2 for wrong input, with the field', async () => {
    expect(await run(stack, 'apps', 'create', 'Shop')).toMatchObject({
      code: 2,
      err: expect.stringContaining('name: must be'),
    })
  })

  it('3 when nobody answers, with the next step', async () => {
    const ran = await run(stack, '--api-url', 'http://127.0.0.1:9', 'apps', 'list')
    expect(ran).toMatchObject({ code: 3, err: expect.stringContaining('coppice up') })
  })

  it('4 with a wrong token, and the token is not repeated', async () => {
    const ran = await run(stack, '--token', 'wrong-wrong-wrong-wrong', 'apps', 'list')
    expect(ran.code).toBe(4)
    expect(ran.err).not.toContain('wrong-wrong')
  })
})

describe('R14.3 coppice doctor', () => {
  it('finds nothing wrong with a platform that is well', async () => {
    const { code, out } = await run(stack, 'doctor')
    expect(out).not.toContain('✗')
    for (const part of ['node', 'api', 'temporal', 'worker', 'router', 'disk'])
      expect(out).toMatch(new RegExp(`✓ ${part} `))
    expect(code).toBe(0)
  })

  it('finds the tools where the toolchain does, and says where', async () => {
    const { sources } = TOOLS.uv
    const cache = join(folder, 'cache')
    const uv = join(toolFolder(cache, 'uv', (sources[0] as { version: string }).version), 'uv')
    await mkdir(join(uv, '..'), { recursive: true })
    await writeFile(uv, '#!/bin/sh\necho uv 0.9.9\n', { mode: 0o755 })
    const env = { COPPICE_CACHE: cache, HOME: folder, PATH: '/usr/bin:/bin', COPPICE_TEMPORAL_CLI: '/nowhere/temporal' }
    const { code, out } = await coppice(['doctor'], { home: stack.home, env }).ended
    expect(out).toContain(`0.9.9 at ${uv}, fetched by Coppice`)
    expect(out).toMatch(
      /✗ temporal cli .*COPPICE_TEMPORAL_CLI names \/nowhere\/temporal, but there is no such program/i,
    )
    expect(code).toBe(1)
  })

  it('says that the control plane hangs, and does not hang with it', async () => {
    stack.kill('control', 'SIGSTOP')
    try {
      const { code, out } = await run(stack, 'doctor')
      expect(out).toMatch(/✗ api +.*takes the connection and does not answer.*\n +→ .*control\.log/)
      expect(code).toBe(1)
    } finally {
      stack.kill('control', 'SIGCONT')
    }
  })

  it('says what is wrong and what to do when Temporal is down', async () => {
    await stack.fell('temporal')
    try {
      const { code, out } = await run(stack, 'doctor')
      expect(code).toBe(1)
      expect(out).toMatch(/✗ temporal +.*cannot be reached\n +→ .*coppice up/)
    } finally {
      await stack.raise('temporal')
    }
  })
})

describe('R14.3 coppice down --purge', () => {
  it('touches nothing in a folder that no platform has made', async () => {
    const foreign = join(folder, 'foreign')
    await mkdir(foreign)
    await writeFile(join(foreign, 'thesis.txt'), 'years of work')
    const ran = await coppice(['down', '--purge'], { home: foreign }).ended
    expect(ran.err).toContain('not a data directory')
    expect(existsSync(join(foreign, 'thesis.txt'))).toBe(true)
    expect(existsSync(join(foreign, 'run'))).toBe(false)
  })

  it('leaves no process, port or file of a platform whose starter and worker were killed', async () => {
    const started = await startPlatform()
    const state = JSON.parse(await readFile(join(started.home, 'run', 'state.json'), 'utf8'))
    const pids = [
      state.starter.pid,
      ...Object.values(state.processes as Record<string, { pid: number }>).map(({ pid }) => pid),
    ]
    const deployed = await run(started, 'apps', 'deploy', 'own', '--source', join(folder, 'own'), '--instances', '2')
    expect(deployed.code).toBe(0)
    const instances = JSON.parse((await run(started, '-o', 'json', 'apps', 'get', 'own')).out).instances as Array<{
      pid: number
      address: string
    }>
    for (const pid of [state.starter.pid, state.processes.worker.pid]) process.kill(pid, 'SIGKILL')
    const ran = await run(started, 'down', '--purge')
    expect(ran).toMatchObject({ code: 0, err: expect.stringContaining(`${started.home} is removed`) })
    expect(existsSync(started.home)).toBe(false)
    for (const pid of [...pids, ...instances.map((one) => one.pid)])
      expect([pid, await isRunning(pid)]).toEqual([pid, false])
    const { port, apiPort, temporalPort, uiPort } = state.options
    const ports = [
      port,
      apiPort,
      temporalPort,
      uiPort,
      ...instances.map(({ address }) => Number(address.split(':')[1])),
    ]
    for (const number of ports) expect(await accepts(number)).toBe(false)
  })
})

/** A dead one that nobody has reaped yet runs no more. */
const isRunning = async (pid: number): Promise<boolean> => (await systemProcessTable().row(pid))?.zombie === false

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
