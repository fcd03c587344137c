/**
 * `npm run test:crash [-- --seed N] [--only TEXT] [--sample] [--from N]`: every case of the crash suite, the matrix at
 * the end. An interrupt ends it after the round that runs; `--from` goes on there, with the same seed.
 * `--only` takes the cases whose name has the text in it, e.g. `--only "kill worker at start"`; `--sample` those that
 * `npm test` would take.
 */
import { parseArgs } from 'node:util'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { allCases, nameOf, rounds, sample } from './cases.ts'
import { failuresOf, matrix } from './matrix.ts'
import { seededRandom, seedFrom } from './random.ts'
import type { CaseResult } from './round.ts'
import { startCrashStack } from './stack.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    only: { type: 'string' },
    sample: { type: 'boolean' },
    from: { type: 'string', default: '1' },
  },
})
const say = (words: string) => process.stdout.write(`${words}\n`)
const seed = values.seed === undefined ? seedFrom(process.env) : Number(values.seed)
const cases = (values.sample ? sample(seed) : allCases()).filter((each) => nameOf(each).includes(values.only ?? ''))
const planned = rounds(cases, seededRandom(seed))
say(`seed ${seed}: ${cases.length} cases in ${planned.length} rounds`)
await resolveTool('temporal')

const results: CaseResult[] = []
const stack = await startCrashStack()
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (!interrupted) say('interrupted; ending after this round')
    interrupted = true
  })
try {
  const begun = Date.now()
  for (const [i, round] of planned.entries()) {
    if (interrupted) break
    if (i + 1 < Number(values.from)) continue
    const done = await stack.rounds.run(round)
    results.push(...done)
    const failed = failuresOf(done)
    const minutes = ((Date.now() - begun) / 60_000).toFixed(1)
    say(`${i + 1}/${planned.length} ${round[0]?.fault}: ${done.length} cases, ${failed.length} failed; ${minutes} min`)
    for (const words of failed) say(`  ${words}`)
  }
} finally {
  await stack.stop()
}
const failed = failuresOf(results)
say(`\n${matrix(results)}\n`)
const counted = `${results.length} cases of ${cases.length}, ${failed.length} failed; seed ${seed}`
say(failed.length === 0 ? `${counted}: every one of them holds` : `${counted}:`)
for (const words of failed) say(`  ${words}`)
process.exit(failed.length === 0 && !interrupted ? 0 : 1)
