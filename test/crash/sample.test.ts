import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAULTS, type Fault, nameOf, rounds, sample } from './cases.ts'
import { failuresOf } from './matrix.ts'
import { seededRandom, seedFrom } from './random.ts'
import { type CrashStack, startCrashStack } from './stack.ts'

/**
 * For each fault one case of every operation, drawn anew each time; `npm run test:crash` runs all of them. To repeat
 * what was drawn: COPPICE_CRASH_SEED.
 */
const seed = seedFrom(process.env)
const drawn = sample(seed)
let stack: CrashStack

beforeAll(async () => {
  process.stderr.write(`crash suite: ${drawn.length} cases, COPPICE_CRASH_SEED=${seed}\n`)
  stack = await startCrashStack()
})
afterAll(() => stack?.stop())

const RULES = {
  'kill worker': 'R10.1 R10.2 R12.5',
  'kill control': 'R10.1 R10.2 R12.5',
  'kill temporal': 'R10.1 R10.2 R12.6',
  'kill router': 'R10.1 R10.2 R12.3',
  terminate: 'R10.1 R10.2 R10.6',
  cancel: 'R10.1 R10.2 R12.7',
} as const satisfies Record<Fault, string>

describe('whatever happens at whatever step, an app is wholly new or wholly old and nothing is left behind', () => {
  for (const round of rounds(drawn, seededRandom(seed))) {
    const fault = round[0]?.fault ?? FAULTS[0]
    it(`${RULES[fault]} ${fault}, met by ${round.length} operations at other steps each`, {
      timeout: 300_000,
    }, async () => {
      const results = await stack.rounds.run(round)
      expect(results.map(({ case: each }) => nameOf(each))).toEqual(round.map(nameOf))
      expect(failuresOf(results), `COPPICE_CRASH_SEED=${seed}`).toEqual([])
    })
  }
})
