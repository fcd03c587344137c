/**
 * `npm run test:thousand [-- --operations 1000] [--apps 50]`: many operations over many apps, and what they leave behind
 * in worker and control plane: memory after all of them against after the first tenth (at most 1.1), and not one
 * descriptor, process or directory more.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { OperationType } from '../../domain/states.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import type { ProcessName } from '../../scripts/stack/state-file.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { Platform } from '../helpers/platform.ts'
import { writeCrashApp } from './app.ts'
import { Doors } from './client.ts'
import { lookAround, untidiness } from './world.ts'

const MAX_GROWTH = 1.1
/** Operations at once. */
const AT_ONCE = 8
/** How long a look at rest lasts. */
const REST_MS = 20_000
const WATCHED = ['worker', 'control'] as const satisfies ProcessName[]

/** What one app goes through, again and again; it ends as it began. */
const CYCLE: Array<[OperationType, Record<string, unknown>]> = [
  ['restart', {}],
  ['convert', { to: 'scaled' }],
  ['resize', { instances: 2 }],
  ['resize', { computeSize: 'LARGE' }],
  ['resize', { instances: 1, computeSize: 'MEDIUM' }],
  ['convert', { to: 'standard' }],
  ['stop', {}],
  ['start', {}],
  ['deploy', {}],
  ['rollback', {}],
]

type Look = {
  rssMb: Record<(typeof WATCHED)[number], number>
  descriptors: Record<(typeof WATCHED)[number], Record<string, number>>
  processes: number
  directories: number
}

const { values } = parseArgs({
  options: { operations: { type: 'string', default: '1000' }, apps: { type: 'string', default: '50' } },
})
const total = Number(values.operations)
const say = (words: string) => process.stdout.write(`${words}\n`)

await resolveTool('temporal')
const fuses = await mkdtemp(join(tmpdir(), 'coppice-fuses-'))
const platform = await Platform.start({
  env: {
    COPPICE_MAX_SCALED_APPS: '10000',
    // As an address, because the variable is split at blanks.
    NODE_OPTIONS: `--import ${new URL('collect-on-signal.mjs', import.meta.url)}`,
  },
})
const doors = await Doors.open(platform)
let code = 1
try {
  code = await run()
} finally {
  await doors.close()
  await platform.stop()
  await removeTree(fuses)
}
process.exit(code)

async function run(): Promise<number> {
  const names = Array.from({ length: Number(values.apps) }, (_, i) => `many-${i}`)
  const source = await writeCrashApp(platform.sources, fuses, 'v1')
  await inTurns(names, async (app) => {
    await platform.stack.api('POST', '/api/2.0/apps', { name: app })
    // Twice, so that there is something to roll back to; of one source, so that nothing is built.
    for (let i = 0; i < 2; i++) await doors.execute('deploy', app, { sourceCodePath: source })
  })
  say(`${names.length} apps run`)
  const cycles = Math.ceil(total / names.length / CYCLE.length)
  const first = await look(names, async () => {
    // A tenth: every type of operation, on as many apps as that takes.
    await inTurns(names.slice(0, Math.ceil(total / 10 / CYCLE.length)), cycle)
  })
  say(`after ${total / 10}: ${shown(first)}`)
  const last = await look(names, async () => {
    for (let i = 0; i < cycles; i++) {
      await inTurns(i === 0 ? names.slice(Math.ceil(total / 10 / CYCLE.length)) : names, cycle)
      say(`  round ${i + 1}/${cycles}: ${WATCHED.map((name) => `${name} ${rssMb(name)} MB`).join(', ')}`)
    }
  })
  say(`after ${total}: ${shown(last)}`)
  return compare(first, last)
}

async function cycle(app: string): Promise<void> {
  for (const [type, input] of CYCLE) await doors.execute(type, app, input)
}

/** `AT_ONCE` of them at any time. */
async function inTurns<T>(list: readonly T[], work: (each: T) => Promise<void>): Promise<void> {
  const queue = [...list]
  const hand = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await work(next)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, hand))
}

/**
 * Works, waits until everything is tidy, and looks for a while, with garbage collected: the least that was seen counts.
 * Without that the resident memory of the worker is anything between what it holds and half as much again.
 */
async function look(names: string[], work: () => Promise<void>): Promise<Look> {
  await work()
  const tidyBy = Date.now() + 60_000
  for (;;) {
    const world = lookAround(platform)
    const left = [...names.flatMap((app) => untidiness(world, app)), ...world.unfinished]
    if (left.length === 0) break
    if (Date.now() > tidyBy) throw new Error(left.join('; '))
    await sleep(250)
  }
  let least: Look | null = null
  for (const until = Date.now() + REST_MS; Date.now() < until; await sleep(1_000)) {
    for (const name of WATCHED) platform.stack.kill(name, 'SIGUSR2')
    const now: Look = {
      rssMb: { worker: rssMb('worker'), control: rssMb('control') },
      descriptors: { worker: descriptors('worker'), control: descriptors('control') },
      processes: platform.processes().length,
      directories: directories(platform.stack.home),
    }
    least ??= now
    for (const name of WATCHED) {
      least.rssMb[name] = Math.min(least.rssMb[name], now.rssMb[name])
      if (sum(now.descriptors[name]) < sum(least.descriptors[name])) least.descriptors[name] = now.descriptors[name]
    }
    least.processes = Math.min(least.processes, now.processes)
    least.directories = Math.min(least.directories, now.directories)
  }
  return least as Look
}

function compare(first: Look, last: Look): number {
  const rows = WATCHED.flatMap((name) => [
    {
      what: `memory of the ${name} (ratio, at most ${MAX_GROWTH})`,
      is: (last.rssMb[name] / first.rssMb[name]).toFixed(3),
      holds: last.rssMb[name] / first.rssMb[name] <= MAX_GROWTH,
    },
    {
      what: `descriptors of the ${name}, more`,
      is: String(sum(last.descriptors[name]) - sum(first.descriptors[name])),
      holds: sum(last.descriptors[name]) <= sum(first.descriptors[name]),
    },
  ])
  const more = (what: 'processes' | 'directories') => ({
    what: `${what}, more`,
    is: String(last[what] - first[what]),
    holds: last[what] <= first[what],
  })
  rows.push(more('processes'), more('directories'))
  for (const { what, is, holds } of rows) say(`${holds ? 'holds' : 'FAILS'}  ${what}: ${is}`)
  return rows.every(({ holds }) => holds) ? 0 : 1
}

function rssMb(name: ProcessName): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${platform.stack.pids[name]}/status`, 'utf8'))?.[1]
  return Math.round(Number(kb) / 1024)
}

/** Open descriptors by what they are: `socket`, `pipe`, or a file's name without its numbers. */
function descriptors(name: ProcessName): Record<string, number> {
  const folder = `/proc/${platform.stack.pids[name]}/fd`
  const counts: Record<string, number> = {}
  for (const fd of readdirSync(folder)) {
    let kind: string
    try {
      kind = readlinkSync(join(folder, fd)).replace(/:.*$/, '').replace(/\d+/g, 'N')
    } catch {
      continue
    }
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

function directories(folder: string): number {
  let count = 0
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) if (entry.isDirectory()) count++
  return count
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, n) => total + n, 0)
}

function shown({ rssMb, descriptors, processes, directories }: Look): string {
  return [
    ...WATCHED.map((name) => `${name} ${rssMb[name]} MB, ${sum(descriptors[name])} descriptors`),
    `${processes} processes of apps, ${directories} directories`,
  ].join('; ')
}
