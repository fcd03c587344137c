import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { AlreadyRunning, type Stack, type StartStackOptions, startStack } from '../../scripts/stack/stack.ts'
import { freeStackOptions, homePaths, type StackOptions } from '../../scripts/stack-options.ts'
import { brokenProgram, standIns } from './stand-ins/programs.ts'

/** Real Temporal and real supervision of stand-ins, which are up in an instant. */

let home: string
let options: StackOptions
let events: string[]
const stacks: Stack[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-start-'))
  options = await freeStackOptions(home)
  events = []
})
afterEach(async () => {
  for (const stack of stacks.splice(0)) await stack.stop()
  await removeTree(home)
})

async function start(more: Partial<StartStackOptions> = {}): Promise<Stack> {
  const onEvent = (words: string) => events.push(words)
  const stack = await startStack({ home, ports: options, programs: standIns(), onEvent, ...more })
  stacks.push(stack)
  return stack
}

async function alive(pid: number | undefined): Promise<boolean> {
  const row = pid === undefined ? null : await systemProcessTable().row(pid)
  return row !== null && !row.zombie
}

/** Awaits a condition; the deadline is the test's. */
async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(20)
}

describe('a stack', () => {
  it('R14.1 runs once a data directory, and leaves nothing when it is stopped', async () => {
    const stack = await start()
    const pids = Object.values(stack.pids)
    expect(pids).toHaveLength(4)
    expect(await Promise.all(pids.map(alive))).toEqual([true, true, true, true])
    await expect(startStack({ home, ports: 'free', programs: standIns() })).rejects.toThrow(AlreadyRunning)

    await stack.stop()
    expect(await Promise.all(pids.map(alive))).toEqual([false, false, false, false])
    expect(existsSync(homePaths(home).state)).toBe(false)
    await (await start()).stop()
  })

  it('stops the instances of apps with it, unless it shall keep them', async () => {
    const log = () => readFileSync(homePaths(home).log('worker'), 'utf8')
    await (await start()).stop()
    expect(log().trim().split('\n').at(-1)).toBe('ended by SIGINT')
    await (await start()).stop({ keepInstances: true })
    expect(log().trim().split('\n').at(-1)).toBe('ended by SIGTERM')
  })

  it('starts a process again that dies, and tells so', async () => {
    const stack = await start()
    for (const name of ['temporal', 'control', 'router', 'worker'] as const) {
      const before = stack.pids[name]
      stack.kill(name, 'SIGKILL')
      await eventually(() => stack.pids[name] !== undefined && stack.pids[name] !== before)
      expect(events.some((words) => words.startsWith(`${name}: ended by SIGKILL`))).toBe(true)
    }
    await eventually(async () => (await fetch(stack.routerUrl).catch(() => null))?.status === 200)
  })

  it('keeps down what is felled until it is raised', async () => {
    const stack = await start()
    await stack.fell('router')
    await sleep(400) // longer than the first back-off: nothing may come back by itself
    expect(stack.pids.router).toBeUndefined()
    await stack.raise('router')
    expect((await fetch(stack.routerUrl)).status).toBe(200)
  })

  it('says what a process that cannot start has written, and ends the others', async () => {
    const attempt = start({ programs: standIns({ router: brokenProgram }) })
    await expect(attempt).rejects.toMatchObject({
      message: 'router ended with code 3 before it served',
      logLines: expect.arrayContaining(['no licence to run']),
    })
    expect(existsSync(homePaths(home).state)).toBe(false)
    await (await start()).stop()
  })

  it('R13.5 starts nothing with a token file that holds no token, and says which', async () => {
    writeFileSync(homePaths(home).token, '')
    await expect(start()).rejects.toThrow(`${homePaths(home).token} must hold a token`)
    expect(existsSync(homePaths(home).log('control'))).toBe(false)
    expect(existsSync(homePaths(home).state)).toBe(false)
  })

  it('takes free ports for those that are 0, and says which', async () => {
    const free = { ...options, port: 0, apiPort: 0, temporalPort: 0 }
    const first = await start({ ports: free })
    const { port, apiPort, temporalPort } = first.options
    expect(new Set([port, apiPort, temporalPort, 0]).size).toBe(4)
    expect(events).toEqual([
      `--port 0: the port of the apps (router) is ${port}`,
      `--api-port 0: the port of the REST API is ${apiPort}`,
      `--temporal-port 0: the port of the embedded Temporal server is ${temporalPort}`,
    ])
    expect(first.routerUrl).toBe(`http://127.0.0.1:${port}`)
    expect((await fetch(first.routerUrl)).status).toBe(200)
  })

  it('R14.1 names flag, variable and holder of a port that is taken, and starts nothing', async () => {
    const squatter = createServer().listen(options.apiPort, '127.0.0.1')
    await once(squatter, 'listening')
    const flag = `--api-port ${options.apiPort + 1}`
    await expect(start()).rejects.toThrow(
      new RegExp(`port ${options.apiPort} .*taken, by .*${process.pid}.*${flag}.*COPPICE_API_PORT=`),
    )
    expect(existsSync(homePaths(home).state)).toBe(false)
    squatter.close()
  })
})

describe('what a killed starter left', () => {
  let starter: ChildProcess
  let left: Record<string, number> = {}
  // Whatever a failing test has not taken over.
  afterEach(async () => {
    for (const pid of Object.values(left)) if (await alive(pid)) process.kill(pid, 'SIGKILL')
  })
  async function leftBehind(): Promise<Record<string, number>> {
    const script = join(import.meta.dirname, 'stand-ins', 'starter.ts')
    starter = spawn(process.execPath, [script, home, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(starter.stdout as NonNullable<typeof starter.stdout>, 'data')
    starter.kill('SIGKILL')
    await once(starter, 'exit')
    left = JSON.parse(String(line))
    return left
  }

  it('R14.1 is adopted by the next one, which then looks after it', async () => {
    await leftBehind()
    expect(Object.keys(left).sort()).toEqual(['control', 'router', 'temporal', 'worker'])
    const stack = await start()
    expect(stack.pids).toEqual(left)
    stack.kill('router', 'SIGKILL')
    await eventually(() => stack.pids.router !== undefined && stack.pids.router !== left.router)
    await stack.stop()
    expect(await Promise.all(Object.values(left).map(alive))).toEqual([false, false, false, false])
  })

  it('R14.1 is adopted where it is, by one that was told to take free ports', async () => {
    await leftBehind()
    const stack = await start({ ports: { ...options, port: 0, apiPort: 0, temporalPort: 0 } })
    expect(stack.pids).toEqual(left)
    expect(stack.options).toEqual(options)
  })

  it('R14.1 is ended where the next one was told otherwise', async () => {
    await leftBehind()
    const other = await freeStackOptions(home)
    const stack = await start({ ports: { ...options, port: other.port, apiPort: other.apiPort } })
    // All but Temporal were given an address that is now another one.
    expect(stack.pids.router).not.toBe(left.router)
    expect(await Promise.all([left.control, left.router, left.worker].map(alive))).toEqual([false, false, false])
    expect((await fetch(stack.routerUrl)).status).toBe(200)
  })

  it('R14.1 is replaced where it is dead, and a stranger that got its pid is left alone', async () => {
    await leftBehind()
    process.kill(left.worker as number, 'SIGKILL')
    await eventually(async () => !(await alive(left.worker)))
    const file = homePaths(home).state
    const state = JSON.parse(readFileSync(file, 'utf8'))
    // As if this test's own process had got the worker's pid.
    state.processes.worker.pid = process.pid
    writeFileSync(file, JSON.stringify(state))
    const stack = await start()
    expect(stack.pids.worker).not.toBe(process.pid)
    expect(stack.pids.temporal).toBe(left.temporal)
  })
})
