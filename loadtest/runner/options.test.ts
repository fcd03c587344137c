import { expect, it } from 'vitest'
import { resolveOptions } from './options.ts'

const resolve = (argv: string[], env: NodeJS.ProcessEnv = {}) =>
  resolveOptions(argv, { known: ['affinity', 'deploy', 'soak'], env, resultsFolder: '/results', drawSeed: () => 7 })

it('a scenario is all that is needed; what is left out is the scenario’s own', () => {
  expect(resolve(['deploy'])).toEqual({
    scenarios: ['deploy'],
    quick: false,
    rate: null,
    durationMs: null,
    seed: 7,
    keep: false,
    env: {},
    out: '/results',
    attach: null,
  })
})

it('all means all but the soak, which takes as long as it is told', () => {
  expect(resolve(['all'])?.scenarios).toEqual(['affinity', 'deploy'])
  expect(resolve(['soak', '--duration', '20m'])).toMatchObject({ scenarios: ['soak'], durationMs: 1_200_000 })
})

it('what makes no sense is refused with the flag that is wrong', () => {
  for (const [argv, words] of [
    [[], 'name a scenario'],
    [['nonsense'], 'there is no scenario nonsense'],
    [['affinity', '--rate', '0'], '--rate'],
    [['affinity', '--seed', 'x'], '--seed'],
    [['affinity', '--duration', '5'], '--duration'],
    [['affinity', '-e', 'novalue'], '-e'],
    [['affinity', '--nonsense'], 'nonsense'],
    [['affinity', '--app', 'a'], '--api-url'],
  ] as const) {
    expect(() => resolve([...argv]), argv.join(' ')).toThrow(words)
  }
})

it('an app that is deployed already is reached with the token of the environment', () => {
  const at = ['affinity', '--app', 'a', '--api-url', 'http://api', '-e', 'APP_PATH=/x?y=1', '--quick']
  expect(() => resolve(at)).toThrow('COPPICE_TOKEN')
  expect(resolve(at, { COPPICE_TOKEN: 't' })).toMatchObject({
    attach: { app: 'a', apiUrl: 'http://api', token: 't' },
    env: { APP_PATH: '/x?y=1' },
    quick: true,
  })
})
