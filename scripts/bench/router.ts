import { join } from 'node:path'
import { type BenchResult, type Figure, figure, lowerQuartile, median, spread } from './figures.ts'
import type { LoadOrder } from './router/load.ts'
import { type Cores, cores, start } from './router/machine.ts'
import { type Measured, measure } from './router/measure.ts'
import { ours, type Peer, peers } from './router/peers.ts'
import { echoPerSecond, idleSocketBytes } from './router/sockets.ts'
import { tableUpdates } from './router/table-updates.ts'
import { type Row, writeUp } from './router/write-up.ts'

/** Rounds of each comparison; the peers take turns within a round, so that a bad minute hits all of them. */
const ROUNDS = Number(process.env.COPPICE_BENCH_ROUNDS ?? 5)
const SECONDS = Number(process.env.COPPICE_BENCH_SECONDS ?? 4)
/** Before each run, in seconds, not counted: V8 compiles anew what another kind of load has taught it to doubt. */
const WARM_UP_SECONDS = 2
const SCALING_ROUNDS = 3 * ROUNDS
/**
 * CPU time is compared in many short slices that take turns, by the lower quartile of each proxy: on a shared machine the
 * neighbours come and go within seconds and can only add to it (the same code on the same core: 36 to 78 µs in a minute).
 */
const SLICES = 4 * ROUNDS
const SLICE = { seconds: 1.5, warmUpSeconds: 0.5 }
/** Runs before all others: a Node proxy costs a quarter more until V8 has compiled it for good (measured: 40 s). */
const FIRST_RUNS = 4
/** Of the open loop; well below half of what any of them can do on one core. */
const RATE = 1500
const IDLE_SOCKETS = 4000
/** An address, because NODE_OPTIONS is split at blanks. */
const COLLECT = new URL('../../test/crash/collect-on-signal.mjs', import.meta.url)

const get = (path: string, connections: number): LoadShape => ({
  method: 'GET',
  path,
  bodyBytes: 0,
  connections,
  rate: 0,
})
type LoadShape = Pick<LoadOrder, 'method' | 'path' | 'bodyBytes' | 'connections' | 'rate'>

const LOADS: Record<string, LoadShape> = {
  'small GET': get('/small', 64),
  '64 KiB GET': get('/64k', 32),
  '1 MiB GET': get('/1m', 8),
  '1 MiB POST': { method: 'POST', path: '/small', bodyBytes: 1 << 20, connections: 8, rate: 0 },
  '1,000 connections': get('/small', 1000),
  'open loop': { ...get('/small', 64), rate: RATE },
}

/** The router beside its peers (F3.1 to F3.9). Takes three quarters of an hour; COPPICE_BENCH_ROUNDS=1 for a glance. */
export async function bench(): Promise<BenchResult> {
  const pins = cores(1)
  const source = join(import.meta.dirname, 'router', 'origin.ts')
  const apps = await Promise.all([0, 1].map(() => start(pins?.origin, process.execPath, [source])))
  const origins = apps.map((app) => Number(app.line))
  const all = await peers(origins, pins)
  const results = new Map<string, Map<string, Measured[]>>()
  try {
    await warmUp(all, get('/small', 64), pins)
    const cpu = await cpuSlices(all.filter(isCompared), pins)
    for (let round = 0; round < ROUNDS; round++) {
      for (const [load, shape] of Object.entries(LOADS)) {
        for (const peer of all) remember(results, load, peer.name, await once(peer, shape, pins))
        if (shape.rate > 0)
          remember(results, load, 'direct', await once({ port: origins[0] as number, pids: [] }, shape, pins))
        process.stderr.write(`round ${round + 1} of ${ROUNDS}: ${load}\n`)
      }
    }
    const echo: Record<string, number> = {}
    for (const peer of all.filter(takesWebSockets)) echo[peer.name] = await echoPerSecond(peer.port, 32, SECONDS)
    await Promise.all(all.map((peer) => peer.stop()))
    const idle = await idleMemory(origins, pins)
    const scaling = await twoProcesses(origins)
    const updates = await tableUpdates(origins, cores(2), 4000)

    const figures = judge(results, cpu, idle, echo, scaling, updates)
    const rows = [...results].flatMap(([load, byPeer]) => [...byPeer].map(([peer, runs]) => row(load, peer, runs)))
    writeUp(join(import.meta.dirname, '..', '..', 'docs', 'benchmarks'), rows, asTable(figures))
    return { figures }
  } finally {
    for (const peer of all) await peer.stop().catch(() => undefined)
    for (const app of apps) app.child.kill('SIGKILL')
  }
}

function once(
  peer: Pick<Peer, 'port' | 'pids'>,
  shape: LoadShape,
  pins: Cores,
  length = { seconds: SECONDS, warmUpSeconds: WARM_UP_SECONDS },
): Promise<Measured> {
  return measure(peer.pids, { ...shape, ...length, port: peer.port, host: 'app.localhost' }, pins)
}

/** Those of F3.1 to F3.3. */
const isCompared = (peer: Peer) => ['ours', 'HAProxy', 'fast-proxy', 'http-proxy-middleware'].includes(peer.name)

/** CPU time of a small GET in each slice, in µs, by proxy. */
async function cpuSlices(compared: Peer[], pins: Cores): Promise<Map<string, number[]>> {
  const slices = new Map<string, number[]>(compared.map((peer) => [peer.name, []]))
  for (let slice = 0; slice < SLICES; slice++) {
    for (const peer of compared) {
      const { cpuMicros } = await once(peer, get('/small', 64), pins, SLICE)
      slices.get(peer.name)?.push(cpuMicros)
    }
  }
  return slices
}

async function warmUp(all: Peer[], shape: LoadShape, pins: Cores): Promise<void> {
  for (let run = 0; run < FIRST_RUNS; run++) for (const peer of all) await once(peer, shape, pins)
}

function remember(results: Map<string, Map<string, Measured[]>>, load: string, peer: string, measured: Measured): void {
  const byPeer = results.get(load) ?? new Map<string, Measured[]>()
  results.set(load, byPeer)
  byPeer.set(peer, [...(byPeer.get(peer) ?? []), measured])
}

/** The others do not take them without further ado. */
const takesWebSockets = (peer: Peer) => ['ours', 'HAProxy', 'nginx'].includes(peer.name)

/** Bytes that a router holds for each idle WebSocket, both its sockets and all that belongs to them. */
async function idleMemory(origins: number[], pins: Cores): Promise<number> {
  // A fresh one: under load before, it has freed memory to fill, and -0.1 kB each comes out.
  const fresh = await ours(origins, pins, 1, { NODE_OPTIONS: `--import ${COLLECT}` })
  try {
    return await idleSocketBytes(fresh, IDLE_SOCKETS)
  } finally {
    await fresh.stop()
  }
}

/**
 * Throughput of two processes over that of one, taken in turns. One process alone is measured on each of the two cores,
 * because on a virtual machine these need not be equal.
 */
async function twoProcesses(origins: number[]): Promise<number[]> {
  const pins = cores(2)
  const first = await ours(origins, pins && { ...pins, proxy: '0' })
  const second = await ours(origins, pins && { ...pins, proxy: '1' })
  const both = await ours(origins, pins, 2)
  const shape = get('/small', 128)
  await warmUp([first, second, both], shape, pins)
  const ratios: number[] = []
  for (let round = 0; round < SCALING_ROUNDS; round++) {
    const perSecond: number[] = []
    for (const peer of [first, both, second]) perSecond.push((await once(peer, shape, pins)).perSecond)
    const [a, two, b] = perSecond as [number, number, number]
    ratios.push(two / ((a + b) / 2))
  }
  await Promise.all([first, second, both].map((peer) => peer.stop()))
  return ratios
}

function judge(
  results: Map<string, Map<string, Measured[]>>,
  cpu: Map<string, number[]>,
  idleBytes: number,
  echo: Record<string, number>,
  scaling: number[],
  updates: number[],
): Record<string, Figure> {
  /** Of each round ours against the peer's: what disturbs a round disturbs both. */
  const compare = (load: string, peer: string, of: (ours: Measured, theirs: Measured) => number): number[] => {
    const mine = results.get(load)?.get('ours') ?? []
    const theirs = results.get(load)?.get(peer) ?? []
    return mine.flatMap((run, i) => (theirs[i] === undefined ? [] : [of(run, theirs[i])]))
  }
  const cpuAgainst = (peer: string, bar: string) => {
    const [mine, theirs] = [cpu.get('ours') ?? [], cpu.get(peer) ?? []]
    return figure(lowerQuartile(mine) / lowerQuartile(theirs), 'ratio', bar, `CPU per request against ${peer}`, {
      ours: spread(mine),
      theirs: spread(theirs),
    })
  }
  const latency = (q: 'p50' | 'p99') => compare('open loop', 'HAProxy', (a, b) => a[q] - b[q])
  const bulk = (load: string) => compare(load, 'HAProxy', (a, b) => a.perSecond / b.perSecond)
  const ratio = (values: number[], bar: string, what: string) =>
    figure(median(values), 'ratio', bar, what, spread(values))
  const [down, up] = [bulk('1 MiB GET'), bulk('1 MiB POST')]
  const sorted = [...updates].sort((a, b) => a - b)
  const p95 = sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN
  return {
    'F3.1': cpuAgainst('HAProxy', '<= 2.2'),
    'F3.2': cpuAgainst('fast-proxy', '<= 0.85'),
    'F3.3': cpuAgainst('http-proxy-middleware', '<= 0.45'),
    'F3.4': ratio(scaling, '>= 1.8', 'throughput of two processes against one'),
    'F3.5': figure(
      median(latency('p50')),
      'ms',
      '<= 0.2',
      'p50 over that of HAProxy, open loop',
      spread(latency('p50')),
    ),
    'F3.6': figure(
      median(latency('p99')),
      'ms',
      '<= 1.5',
      'p99 over that of HAProxy, open loop',
      spread(latency('p99')),
    ),
    'F3.7': figure(idleBytes / 1000, 'kB', '<= 12', 'memory of an idle WebSocket', { echoPerSecond: echo }),
    'F3.8': figure(p95, 'ms', '<= 20', 'p95 from published to acknowledged, under load', spread(updates)),
    'F3.9': figure(Math.min(median(down), median(up)), 'ratio', '>= 0.35', '1 MiB bodies against HAProxy', {
      down: spread(down),
      up: spread(up),
    }),
  }
}

function row(load: string, peer: string, runs: Measured[]): Row {
  const of = (pick: (run: Measured) => number) => median(runs.map(pick))
  return {
    load,
    peer,
    perSecond: of((run) => run.perSecond),
    cpuMicros: peer === 'direct' ? Number.NaN : of((run) => run.cpuMicros),
    p50: of((run) => run.p50),
    p99: of((run) => run.p99),
  }
}

function asTable(figures: Record<string, Figure>): string {
  const lines = Object.entries(figures).map(
    ([id, f]) =>
      `| ${id} | ${f.what} | ${f.value.toPrecision(3)} ${f.unit} | ${f.bar} | ${f.holds ? 'yes' : '**no**'} |`,
  )
  return `| id | what | value | bar | holds |\n|---|---|---:|---|---|\n${lines.join('\n')}\n`
}
