import { describe, expect, it } from 'vitest'
import { cutOvers } from './cut-over.ts'
import { type RouteTable, routeTableSchema } from './route-table.ts'

/** Apps by what serves them; `-` before an instance that drains. */
function table(apps: Record<string, string[]>): RouteTable {
  return routeTableSchema.parse({
    inventory: 'test',
    version: 1,
    apps: Object.entries(apps).map(([app, instances]) => ({
      app,
      hostnames: [],
      port: null,
      version: 1,
      affinity: true,
      status: 'running',
      drainTimeoutMs: 0,
      endpoints: instances.map((name, slot) => ({
        instance: name.replace('-', ''),
        slot,
        address: `127.0.0.1:${slot + 1}`,
        state: name.startsWith('-') ? 'draining' : 'serving',
      })),
    })),
  })
}

describe('R3.4 apps that are taken to other instances from one table to the next', () => {
  it.each<[string, string[], string[]]>([
    ['a deployment', ['a', 'b'], ['-a', '-b', 'c', 'd']],
    ['a deployment that has drained', ['a', 'b'], ['c', 'd']],
    ['one of two replaced', ['a', 'b'], ['a', 'c']],
    ['a stop', ['a', 'b'], ['-a', '-b']],
    ['a start', [], ['a']],
    ['growing', ['a', 'b'], ['a', 'b', 'c']],
    ['shrinking', ['a', 'b'], ['a', '-b']],
  ])('%s is one', (_what, before, after) => {
    expect(cutOvers(table({ app: before, other: ['x'] }), table({ app: after, other: ['x'] }))).toEqual(['app'])
  })

  it('an app that is deleted is one', () => {
    expect(cutOvers(table({ app: ['a'] }), table({}))).toEqual(['app'])
  })

  it.each<[string, string[], string[]]>([
    ['the end of a drain', ['-a', 'b'], ['b']],
    ['nothing', ['a'], ['a']],
    ['an app that nobody serves, before or after', ['-a'], []],
  ])('%s is none', (_what, before, after) => {
    expect(cutOvers(table({ app: before }), table({ app: after }))).toEqual([])
  })

  it('an app that was not there is none: nobody had an answer of it', () => {
    expect(cutOvers(table({}), table({ app: ['a'] }))).toEqual([])
  })
})
