import { randomUUID } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import { systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { askWithKey, BrowserLike, type LoadResult, startLoad } from './check/traffic.ts'
import { onInterruption, orAborted } from './interruption.ts'
import type { Progress } from './progress.ts'
import { type ApiInstance, callApi, deploy, findApp } from './stack/client.ts'
import { EXAMPLE, ensureExample } from './stack/example-app.ts'
import { leaveHome, removal, runsNothing } from './stack/own-home.ts'
import { type Stack, startStack } from './stack/stack.ts'
import { StartFailed } from './stack/supervised.ts'

/**
 * `npm start -- --check`: starts everything at free ports in a data directory of its own, proves from outside that the
 * promises hold, shows what was seen, stops everything. 0 if all held.
 */
type Row = { claim: string; seen: string; holds: boolean }

class Broken extends Error {}

const STARTS = 'starts, and deploys an app on two instances'
const CLIENTS = 20
const IDEMPOTENT = ['GET', 'PUT', 'DELETE']

export async function check(progress: Progress, begin: typeof startStack = startStack): Promise<number> {
  const home = await mkdtemp(join(tmpdir(), 'coppice-check-'))
  const rows: Row[] = []
  let stack: Stack | null = null
  const started = Date.now()
  const leave = new AbortController()
  onInterruption(
    () => leave.abort(new Error('interrupted')),
    () => `what is left ends with: ${removal(home)}`,
  )
  try {
    stack = await begin({ home, ports: 'free', onProgress: progress.step, signal: leave.signal })
    const running = stack
    const { urls } = await orAborted(
      ensureExample(running, (words) => progress.step(words)),
      leave.signal,
    )
    const url = urls[0] as string
    rows.push({
      claim: STARTS,
      seen: `${seconds(started)} to its first answer`,
      holds: true,
    })
    for (const [claim, prove] of PROOFS) {
      leave.signal.throwIfAborted()
      progress.step(claim)
      rows.push(await attempt(claim, () => prove(running, url, leave.signal)))
    }
  } catch (error) {
    const log = error instanceof StartFailed ? `\n    ${error.logLines.join('\n    ')}` : ''
    rows.push({ claim: STARTS, seen: `${(error as Error).message}${log}`, holds: false })
  }
  let stopped = runsNothing(home)
  if (stack !== null) {
    const running = stack
    progress.step('stops everything')
    const row = await attempt('leaves no process when it is stopped', () => stopsAll(running))
    rows.push(row)
    stopped = row.holds
  }
  progress.end()
  const holds = rows.every((row) => row.holds)
  process.stdout.write(table(rows, Date.now() - started))
  // Whoever interrupted it wants to read nothing of it.
  process.stdout.write(await leaveHome(home, { stopped, wantsLogs: !holds && !leave.signal.aborted }))
  return holds ? 0 : 1
}

type Proof = (stack: Stack, url: string, interrupted: AbortSignal) => Promise<string>

const PROOFS: [string, Proof][] = [
  ['two instances answer at one URL', twoInstances],
  ['a browser sticks to the instance of its first request', browserSticks],
  ['API clients stay where their own keys lead', keysStay],
  ['SIGKILL of an instance under load fails no idempotent request', survivesKill],
  ['a deployment under load fails no request', survivesDeployment],
]

async function twoInstances(_stack: Stack, url: string): Promise<string> {
  const counts = new Map<string, number>()
  for (let request = 0; request < 40; request++) {
    const { instance } = await new BrowserLike(url).get()
    counts.set(instance, (counts.get(instance) ?? 0) + 1)
  }
  expect(counts.size === 2, `${counts.size} instances answered 40 clients`)
  return `40 clients: ${[...counts].map(([instance, count]) => `${instance} ${count}`).join(', ')}`
}

async function browserSticks(_stack: Stack, url: string): Promise<string> {
  const browser = new BrowserLike(url)
  const first = await browser.get()
  expect(browser.cookieNames.length > 0, 'the first answer set no cookie')
  for (let request = 0; request < 20; request++) {
    const { instance } = await browser.get()
    expect(instance === first.instance, `request ${request + 2} went to ${instance}, the first to ${first.instance}`)
  }
  return `21 requests, all at ${first.instance}`
}

async function keysStay(_stack: Stack, url: string): Promise<string> {
  const homes = new Map<string, string>()
  for (let attempt = 0; homes.size < 2 && attempt < 100; attempt++) {
    const key = randomUUID()
    const { instance } = await askWithKey(url, key)
    if (![...homes.values()].includes(instance)) homes.set(key, instance)
  }
  expect(homes.size === 2, '100 keys all led to one instance')
  for (let request = 0; request < 20; request++) {
    for (const [key, home] of homes) {
      const { instance } = await askWithKey(url, key)
      expect(instance === home, `key ${key} went to ${instance} after ${home}`)
    }
  }
  return `2 keys, 21 requests each: ${[...homes.values()].join(' and ')}`
}

async function survivesKill(stack: Stack, url: string): Promise<string> {
  const [victim] = (await servingInstances(stack)).filter(({ pid }) => pid !== undefined)
  expect(victim?.pid !== undefined, 'the API names no pid of an instance')
  const [{ back, backAfter }, { requests, failures }] = await underLoad(url, IDEMPOTENT, async () => {
    await sleep(1_000)
    const killed = Date.now()
    process.kill(victim?.pid as number, 'SIGKILL')
    const back = await untilReplaced(stack, victim as ApiInstance)
    const backAfter = seconds(killed)
    await sleep(1_000)
    return { back, backAfter }
  })
  expect(failures.length === 0, `${failures.length} of ${requests} requests failed: ${failures[0]}`)
  expect(back, `${victim?.id} was not back after 30 s`)
  return `${requests} requests, 0 failed; ${victim?.id} was back after ${backAfter}`
}

async function survivesDeployment(stack: Stack, url: string, interrupted: AbortSignal): Promise<string> {
  const request = { source_code_path: EXAMPLE.source, env_vars: [{ name: 'HELLO_VERSION', value: '2' }] }
  const [{ deployment, took }, load] = await underLoad(url, [...IDEMPOTENT, 'POST'], async () => {
    await sleep(500)
    const began = Date.now()
    const deployment = await orAborted(deploy(stack, EXAMPLE.app, request), interrupted)
    const took = seconds(began)
    await sleep(500)
    return { deployment, took }
  })
  const { requests, failures, stepsBack } = load
  expect(failures.length === 0, `${failures.length} of ${requests} requests failed: ${failures[0]}`)
  expect(stepsBack === 0, `${stepsBack} requests met the old version after their client had seen the new one`)
  const seen = await askWithKey(url, randomUUID())
  expect(seen.version === '2' && seen.deployment === deployment, `version ${seen.version} answers after the deployment`)
  return `${requests} requests, 0 failed, none met the old version after the new; took ${took}`
}

/** Where the work fails the load ends as well: nothing asks what is being stopped. */
async function underLoad<T>(url: string, methods: string[], work: () => Promise<T>): Promise<[T, LoadResult]> {
  const load = startLoad(url, { clients: CLIENTS, methods })
  const done = await work().finally(() => load.stop())
  return [done, await load.stop()]
}

async function stopsAll(stack: Stack): Promise<string> {
  const pids = Object.values(stack.pids)
  try {
    // Where it was interrupted there may be no app yet.
    const instances = (await findApp(stack, EXAMPLE.app)) === null ? [] : await servingInstances(stack)
    pids.push(...instances.flatMap(({ pid }) => pid ?? []))
  } finally {
    await stack.stop()
  }
  const table = systemProcessTable()
  const rows = await Promise.all(pids.map((pid) => table.row(pid)))
  // A zombie is dead, and stays in the table where no init reaps.
  const left = rows.filter((row) => row !== null && !row.zombie).map((row) => row?.pid)
  expect(left.length === 0, `still there: ${left.join(', ')}`)
  return `${pids.length} processes ended`
}

async function servingInstances(stack: Stack): Promise<ApiInstance[]> {
  const { instances } = await callApi<{ instances: ApiInstance[] }>(
    stack,
    'GET',
    `/api/coppice/v1/apps/${EXAMPLE.app}/instances`,
  )
  return instances.filter(({ role }) => role === 'serving')
}

async function untilReplaced(stack: Stack, victim: ApiInstance): Promise<boolean> {
  for (const end = performance.now() + 30_000; performance.now() < end; await sleep(50)) {
    const inSlot = (await servingInstances(stack)).find(({ slot }) => slot === victim.slot)
    if (inSlot?.state === 'running' && inSlot.pid !== victim.pid) return true
  }
  return false
}

async function attempt(claim: string, prove: () => Promise<string>): Promise<Row> {
  try {
    return { claim, seen: await prove(), holds: true }
  } catch (error) {
    return { claim, seen: (error as Error).message, holds: false }
  }
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Broken(otherwise)
}

function table(rows: Row[], tookMs: number): string {
  const width = Math.max(...rows.map(({ claim }) => claim.length))
  const lines = rows.map(
    ({ claim, seen, holds }) => `${holds ? pc.green('✓') : pc.red('✗')} ${claim.padEnd(width)}  ${seen}`,
  )
  const held = rows.filter((row) => row.holds).length
  return ['', ...lines, '', `${held} of ${rows.length} held, ${(tookMs / 1000).toFixed(0)} s`, ''].join('\n')
}

const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(1)} s`
