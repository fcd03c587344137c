import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { freeStackOptions, homePaths, ROOT } from '../stack-options.ts'
import { freePorts } from './ports.ts'
import { startStack } from './stack.ts'
import { type StackState, writeState } from './state-file.ts'

let home: string
const children: ChildProcess[] = []
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-others-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    const gone = once(child, 'exit')
    if (child.kill('SIGKILL')) await gone
  }
  await removeTree(home)
})

/** Says a word when it is there; leads a group, as what a supervisor starts does. */
async function run(words: string, env: NodeJS.ProcessEnv = {}, detached = true): Promise<number> {
  const script = `${words}; console.log('there'); setInterval(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, ...env },
    detached,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data')
  return child.pid as number
}

/** With the real lock. */
const starter = () =>
  run(
    `const { acquireProcessLock } = await import(${JSON.stringify(join(ROOT, 'store', 'process-lock.ts'))})
     if (acquireProcessLock(${JSON.stringify(homePaths(home).lock)}) === null) process.exit(1)`,
  )
/** As `describeProcesses` starts them. */
const control = (words = '') => run(words, environment())
const environment = () => ({
  COPPICE_HOME: home,
  COPPICE_ROUTER_STATE_DIR: homePaths(home).router,
  COPPICE_READY_FILE: homePaths(home).ready('control'),
})

/** With no Temporal of its own, and with programs that end at once: it fails in any case, and as it should in one. */
const broken = join(ROOT, 'test', 'start', 'stand-ins', 'broken.ts')
const start = async (apiPort?: number) => {
  const [port, other] = (await freePorts(2)) as [number, number]
  const ports = { port, apiPort: apiPort ?? other, temporalAddress: '127.0.0.1:1' }
  await startStack({ home, ports, programs: { control: broken, router: broken, worker: broken } })
}
const refusal = (pid: number) =>
  `A platform (pid ${pid}) runs on ${home}, of which run/ knows no more (was that removed?): coppice down`

async function recorded(pid: number): Promise<{ pid: number; startTime: string }> {
  return { pid, startTime: (await systemProcessTable().row(pid))?.startTime as string }
}

const writtenState = async (pid: number, processes: StackState['processes'] = {}) =>
  writeState(homePaths(home).state, {
    format: 1,
    starter: await recorded(pid),
    phase: 'ready',
    options: await freeStackOptions(home),
    processes,
  })

it('R14.1 refuses a start where a platform runs whose run/ was removed, and neither writes nor starts anything', async () => {
  const pid = await starter()
  rmSync(join(home, 'run'), { recursive: true })
  await expect(start()).rejects.toThrow(refusal(pid))
  expect(existsSync(homePaths(home).state)).toBe(false)
  expect(existsSync(homePaths(home).logs)).toBe(false)
})

it('R14.1 refuses it too once the first starter has written down its state anew, and leaves that as it is', async () => {
  const pid = await starter()
  rmSync(join(home, 'run'), { recursive: true })
  await writtenState(pid)
  const before = readFileSync(homePaths(home).state)
  await expect(start()).rejects.toThrow(refusal(pid))
  expect(readFileSync(homePaths(home).state)).toEqual(before)
})

it('R14.1 refuses it where the starter was killed after that, so that nobody knows of the processes, and proposes no other port', async () => {
  const [port] = (await freePorts(1)) as [number]
  const pid = await control(
    `(await import('node:net')).createServer().listen(${port}, '127.0.0.1'); await new Promise(setImmediate)`,
  )
  const error = await start(port).catch((error: Error) => error.message)
  expect(error).toContain(refusal(pid))
  expect(error).not.toContain('Choose another')
})

it('R14.1 goes on where all that runs is written down, where its starter has ended, and where it is of another data directory', async () => {
  const gone = await starter()
  const dead = await recorded(gone)
  const [first] = children.splice(0) as [ChildProcess]
  const ended = once(first, 'exit')
  first.kill('SIGKILL')
  const left = await control()
  mkdirSync(join(home, 'elsewhere'))
  await run('', { COPPICE_HOME: join(home, 'elsewhere'), COPPICE_ROUTER_STATE_DIR: join(home, 'elsewhere', 'router') })
  writeState(homePaths(home).state, {
    format: 1,
    starter: dead,
    phase: 'ready',
    options: await freeStackOptions(home),
    processes: { control: { ...(await recorded(left)), fingerprint: 'another' } },
  })
  // What it has found, it has ended: other options.
  await expect(start()).rejects.toThrow('before it served')
  expect((await systemProcessTable().row(left))?.zombie ?? true).toBe(true)
  await ended
})

it('R14.1 goes on beside what a killed process was about to run, such as the removal of a large tree', async () => {
  const helper = await run('', environment(), false)
  await expect(start()).rejects.toThrow('before it served')
  expect((await systemProcessTable().row(helper))?.zombie).toBe(false)
})
