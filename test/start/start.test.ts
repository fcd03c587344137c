import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { freePorts, randomPortRanges } from '../../scripts/stack/ports.ts'
import { readState } from '../../scripts/stack/state-file.ts'
import { homePaths, ROOT } from '../../scripts/stack-options.ts'
import { ask as askWithHost } from '../helpers/load.ts'

/** What a person does with `npm start`, on the real parts. */

type Start = {
  child: ChildProcess
  said: () => string
  until: (words: string) => Promise<void>
  ended: Promise<number | null>
}

let home: string
let env: NodeJS.ProcessEnv
const starts: Start[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-npm-start-'))
  const [port, apiPort, temporalPort, uiPort] = await freePorts(4)
  const { instancePorts, appPorts } = randomPortRanges()
  env = {
    ...process.env,
    COPPICE_HOME: home,
    COPPICE_PORT: String(port),
    COPPICE_API_PORT: String(apiPort),
    COPPICE_TEMPORAL_PORT: String(temporalPort),
    COPPICE_UI_PORT: String(uiPort),
    COPPICE_INSTANCE_PORTS: instancePorts,
    COPPICE_APP_PORTS: appPorts,
  }
})
afterEach(async () => {
  // The last one may have adopted what an earlier one left.
  for (const { child, ended } of starts.splice(0).reverse()) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await ended
  }
  await removeTree(home)
})

function npmStart(...flags: string[]): Start {
  const child = spawn(process.execPath, [join(ROOT, 'scripts', 'start.ts'), ...flags], {
    env,
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const add = (chunk: Buffer) => {
    text += stripVTControlCharacters(String(chunk))
  }
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', add)
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const until = async (words: string) => {
    while (!text.includes(words)) {
      if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode} without “${words}”:\n${text}`)
      await sleep(20)
    }
  }
  const start = { child, said: () => text, until, ended }
  starts.push(start)
  return start
}

/** The first address under “App”. */
const appUrl = (start: Start): string => /^ {2}App +(http\S+)/m.exec(start.said())?.[1] as string

async function ask(url: string): Promise<{ instance: string; pid: number }> {
  return (await (await fetch(url)).json()) as { instance: string; pid: number }
}

async function bothInstances(url: string): Promise<Map<string, number>> {
  const pids = new Map<string, number>()
  while (pids.size < 2) {
    const { instance, pid } = await ask(url)
    pids.set(instance, pid)
  }
  return pids
}

async function alive(pid: number): Promise<boolean> {
  const row = await systemProcessTable().row(pid)
  return row !== null && !row.zombie
}

const platformPids = (): number[] =>
  Object.values(readState(homePaths(home).state)?.processes ?? {}).map(({ pid }) => pid)

describe('npm start', () => {
  it('R1.1 R14.1 deploys hello on two instances, stops everything on Ctrl-C, and brings the apps back afterwards', async () => {
    const first = npmStart()
    await first.until('Ctrl-C stops everything')
    expect(first.said()).toContain(`http://127.0.0.1:${env.COPPICE_API_PORT}`)
    expect(first.said()).not.toContain(`http://127.0.0.1:${env.COPPICE_UI_PORT}`)
    const url = appUrl(first)
    const before = await bothInstances(url)
    const pids = [...before.values(), ...platformPids()]
    expect(pids).toHaveLength(6)

    // npm passes on the signal that the terminal has sent to all of them already.
    first.child.kill('SIGINT')
    first.child.kill('SIGINT')
    expect(await first.ended).toBe(0)
    expect(await Promise.all(pids.map(alive))).toEqual(pids.map(() => false))

    const second = npmStart()
    await second.until('Ctrl-C stops everything')
    // The same deployment on the same slots, and nothing was deployed again.
    expect([...(await bothInstances(appUrl(second))).keys()].sort()).toEqual([...before.keys()].sort())
    expect(second.said()).not.toContain('Deploying')
  })

  it('R14.1 attaches to what runs on the data directory, and leaves it running', async () => {
    const first = npmStart()
    await first.until('Ctrl-C stops everything')
    const pids = platformPids()
    const second = npmStart()
    await second.until('Ctrl-C leaves it running')
    expect(appUrl(second)).toBe(appUrl(first))
    expect(platformPids()).toEqual(pids)
    second.child.kill('SIGINT')
    expect(await second.ended).toBe(0)
    expect(await Promise.all(pids.map(alive))).toEqual(pids.map(() => true))
    await ask(appUrl(first))

    const third = npmStart()
    await third.until('Ctrl-C leaves it running')
    first.child.kill('SIGTERM')
    expect(await first.ended).toBe(0)
    expect(await third.ended).toBe(0)
    expect(third.said()).toContain('has ended')
  })

  it('R14.1 adopts what a start that was killed left: the apps never notice', async () => {
    const first = npmStart()
    await first.until('Ctrl-C stops everything')
    const [url, pids] = [appUrl(first), platformPids()]
    const instances = await bothInstances(url)
    first.child.kill('SIGKILL')
    await first.ended
    expect((await fetch(url)).status).toBe(200)

    const second = npmStart()
    await second.until('Ctrl-C stops everything')
    expect(platformPids().sort()).toEqual(pids.sort())
    expect(await bothInstances(url)).toEqual(instances)
    second.child.kill('SIGINT')
    expect(await second.ended).toBe(0)
    const all = [...pids, ...instances.values()]
    expect(await Promise.all(all.map(alive))).toEqual(all.map(() => false))
  })

  it('ends early on Ctrl-C while it is starting, and leaves nothing', async () => {
    const start = npmStart()
    await start.until('Starting Temporal server')
    const pids = platformPids()
    start.child.kill('SIGINT')
    expect(await start.ended).toBe(130)
    expect(await Promise.all(pids.map(alive))).toEqual(pids.map(() => false))
    expect(readState(homePaths(home).state)).toBeNull()
  })

  it('serves at a free port when told --port 0, and prints it', async () => {
    const start = npmStart('--port', '0')
    await start.until('Ctrl-C stops everything')
    const [, port] = /^ +http:\/\/hello\.localhost:(\d+)$/m.exec(start.said()) ?? []
    expect(Number(port)).toBeGreaterThan(0)
    expect((await askWithHost(`http://127.0.0.1:${port}`, { host: 'hello.localhost' })).body.instance).toMatch(
      /^hello-/,
    )
  })

  it('refuses an unknown flag and a bad port with what to do', async () => {
    const unknown = npmStart('--prot', '1')
    expect(await unknown.ended).toBe(1)
    expect(unknown.said()).toContain('npm start -- --help')
    env.COPPICE_PORT = 'http'
    const bad = npmStart()
    expect(await bad.ended).toBe(1)
    expect(bad.said()).toContain('--port (COPPICE_PORT): "http" is not a port')
  })
})

describe('npm start -- --check', () => {
  beforeEach(() => {
    env.TMPDIR = home
  })

  it('R1.2 R3.4 R7.1 R7.2 proves itself and leaves nothing behind', async () => {
    const check = npmStart('--check')
    const code = await check.ended
    expect(check.said()).toContain('7 of 7 held')
    expect(code).toBe(0)
    expect(await readdir(home)).toEqual([])
  })

  it('and nothing either, above all no token, when it is interrupted while it starts', async () => {
    const check = npmStart('--check')
    await check.until('Starting')
    check.child.kill('SIGINT')
    expect(await check.ended).toBe(1)
    expect(check.said()).not.toContain('Logs: ')
    expect(await readdir(home)).toEqual([])
  })

  it('waits for no deployment when it is interrupted, and leaves nothing behind', async () => {
    const check = npmStart('--check')
    await check.until('Deploying')
    check.child.kill('SIGINT')
    expect(await check.ended).toBe(1)
    expect(check.said()).toContain('interrupted')
    expect(check.said()).not.toContain('to its first answer')
    expect(check.said()).toContain('✓ leaves no process when it is stopped')
    expect(await readdir(home)).toEqual([])
  })
})
