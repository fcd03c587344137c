import { expect, it } from 'vitest'
import { read } from './serving-record.ts'

const instance = (id: string, healthy: 0 | 1) => ({ kind: 'instance', id, healthy }) as const
const table = (version: number, ...serving: string[]) => ({ kind: 'table', version, serving }) as const
const router = (version: number, ...down: string[]) => ({ kind: 'router', id: 'r', version, down }) as const

const BEFORE = [instance('a', 1), instance('b', 1), table(1, 'a', 'b'), router(1)]
const STARTED = [instance('c', 0), instance('c', 1), instance('d', 1)]

it('sees nothing missing where the old ones stop after every router knows', () => {
  const after = [instance('a', 0), instance('b', 0)]
  expect(read([...BEFORE, ...STARTED, table(2, 'c', 'd'), router(2), ...after])).toEqual({ fewest: 2, tables: 1 })
})

it('sees an old one that stops before', () => {
  expect(read([...BEFORE, ...STARTED, table(2, 'c', 'd'), instance('a', 0), router(2)]).fewest).toBe(1)
})

it('sees a new one that serves before it is healthy, one that crashes, and one that checks found down', () => {
  expect(read([...BEFORE, instance('c', 0), instance('d', 1), table(2, 'c', 'd'), instance('c', 1)]).fewest).toBe(1)
  expect(read([...BEFORE, instance('b', 0), instance('b', 1)]).fewest).toBe(1)
  expect(read([...BEFORE, router(1, 'b'), router(1)]).fewest).toBe(1)
})
