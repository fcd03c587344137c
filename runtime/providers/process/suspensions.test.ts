import { beforeEach, expect, it } from 'vitest'
import { portOf } from '../../../domain/address.ts'
import type { ProcessRow, ProcessTable } from './process-table.ts'
import { Suspensions, type Watched } from './suspensions.ts'

const PORT = 8000
const row = (pid: number, more: Partial<ProcessRow> = {}): ProcessRow => ({
  pid,
  parent: 1,
  group: 10,
  session: 10,
  startTime: `b:${pid}`,
  zombie: false,
  stopped: false,
  doomed: false,
  ...more,
})
const stopped = (pid: number) => row(pid, { stopped: true })

let rows: ProcessRow[]
/** Processes that have run since, by pid. */
let progress: Record<number, number>
let listeners: Record<number, string[]>
let closerLooks: number
let suspensions: Suspensions
beforeEach(() => {
  rows = []
  progress = {}
  listeners = {}
  closerLooks = 0
  suspensions = new Suspensions({
    table: {
      rows: async () => rows,
      progress: async (pid: number) => String(progress[pid] ?? 0),
    } as Partial<ProcessTable> as ProcessTable,
    findListeners: async (pids, port) =>
      pids.flatMap((pid) => (listeners[pid] ?? []).filter((address) => portOf(address) === port)),
    family: async () => {
      closerLooks++
      return rows
    },
  })
})
const watched: ReadonlyMap<string, Watched> = new Map([['i', { pid: 10, startTime: 'b:10', port: PORT }]])
const look = async () => (await suspensions.look(watched)).get('i')

it('R12.2 an instance is suspended when all of it is stopped at two looks, and goes on as soon as it does', async () => {
  rows = [row(10), row(11)]
  expect(await look()).toBe('going')
  rows = [stopped(10), stopped(11)]
  expect(await look()).toBe('unsure')
  expect(await look()).toBe('suspended')
  expect(await look()).toBe('suspended')
  rows = [row(10), row(11)]
  expect(await look()).toBe('going')
  // What was stopped before says nothing about a stop that is new.
  rows = [stopped(10), stopped(11)]
  expect(await look()).toBe('unsure')
})

it('R12.2 one that ran between two looks is not suspended: it is traced, sampled or slowed down', async () => {
  rows = [stopped(10)]
  for (let at = 0; at < 5; at++) {
    progress[10] = at
    expect(await look()).toBe('unsure')
  }
})

it('R12.2 of several processes those count that listen on its port', async () => {
  rows = [stopped(10), row(11)]
  listeners = { 10: ['0.0.0.0:9000'], 11: [`0.0.0.0:${PORT}`] }
  for (const finding of ['unsure', 'going', 'going']) expect(await look()).toBe(finding)
  rows = [row(10), stopped(11)]
  for (const finding of ['unsure', 'suspended', 'suspended']) expect(await look()).toBe(finding)
})

it('R12.2 where nobody listens yet, or somebody else goes on to, nobody is suspended', async () => {
  rows = [stopped(10), row(11)]
  for (const finding of ['unsure', 'going']) expect(await look()).toBe(finding)
  rows = [row(10), stopped(11)]
  listeners = { 10: [`[::]:${PORT}`], 11: [`0.0.0.0:${PORT}`] }
  for (const finding of ['unsure', 'going']) expect(await look()).toBe(finding)
})

it('looks closer once while nothing changes, and again after a while, because who listens may change', async () => {
  rows = [stopped(10), row(11)]
  listeners = { 11: [`0.0.0.0:${PORT}`] }
  for (let i = 0; i < 10; i++) await look()
  expect(closerLooks).toBe(1)
  listeners = { 10: [`0.0.0.0:${PORT}`] }
  const found = []
  for (let i = 0; i < 10; i++) found.push(await look())
  expect(closerLooks).toBe(2)
  expect(found.at(-1)).toBe('suspended')
})

it('one whose leader has gone is not spoken of', async () => {
  rows = [stopped(10)]
  await look()
  for (const gone of [[], [row(10, { startTime: 'b:99' })], [row(10, { zombie: true })]]) {
    rows = gone
    expect(await look()).toBeUndefined()
  }
  rows = [stopped(10)]
  expect(await look()).toBe('unsure')
})
