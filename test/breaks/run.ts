import { applyEdit } from './break.ts'
import { loadBreaks, type NamedBreak } from './load.ts'
import { makeScratch, type Scratch } from './scratch.ts'

/** Of the tests of all breaks: on a busy machine with two cores they take more than ten minutes. */
const UNBROKEN_TIMEOUT_MS = 40 * 60_000

/**
 * `npm run test:breaks [-- name …]`: makes each break in a copy of the work tree and runs its tests. First all of them
 * unbroken: only a test that was green can turn red.
 */
type Outcome = { name: string; rule: string; verdict: string; bites: boolean }

async function main(wanted: string[]): Promise<number> {
  const all = await loadBreaks()
  const unknown = wanted.filter((name) => !all.some((other) => other.name === name))
  if (unknown.length > 0) {
    process.stderr.write(`no such break: ${unknown.join(', ')}\nthere are: ${all.map(({ name }) => name).join(', ')}\n`)
    return 2
  }
  const breaks = wanted.length === 0 ? all : all.filter(({ name }) => wanted.includes(name))
  const scratch = makeScratch()
  try {
    const green = await runUnbroken(scratch, breaks)
    const outcomes: Outcome[] = []
    for (const [index, entry] of breaks.entries()) {
      process.stdout.write(`${index + 1}/${breaks.length} ${entry.name}: ${entry.broken.words}\n`)
      outcomes.push(await runBroken(scratch, entry, green))
    }
    process.stdout.write(table(outcomes))
    return outcomes.every(({ bites }) => bites) ? 0 : 1
  } finally {
    await scratch.remove()
  }
}

const patternOf = ({ broken }: NamedBreak): string => broken.tests.name ?? broken.rule.replaceAll('.', '\\.')

/** Names of the tests that pass as the code is. */
async function runUnbroken(scratch: Scratch, breaks: NamedBreak[]): Promise<Set<string>> {
  process.stdout.write('the tests of all breaks, unbroken\n')
  const files = [...new Set(breaks.flatMap(({ broken }) => broken.tests.files))]
  const args = ['run', ...files, '-t', breaks.map(patternOf).join('|')]
  const { report, output } = await scratch.vitest(args, UNBROKEN_TIMEOUT_MS)
  if (report === null) throw new Error(`vitest gave no report:\n${output.slice(-4_000)}`)
  const tests = report.testResults.flatMap(({ assertionResults }) => assertionResults)
  for (const { fullName } of tests.filter(({ status }) => status === 'failed')) {
    process.stdout.write(`  red without any break: ${fullName}\n`)
  }
  return new Set(tests.filter(({ status }) => status === 'passed').map(({ fullName }) => fullName))
}

async function runBroken(scratch: Scratch, entry: NamedBreak, green: Set<string>): Promise<Outcome> {
  const { name, broken } = entry
  const originals = new Map(broken.edits.map(({ file }) => [file, scratch.read(file)]))
  const outcome = (verdict: string, bites = false): Outcome => ({ name, rule: broken.rule, verdict, bites })
  try {
    for (const edit of broken.edits) scratch.write(edit.file, applyEdit(name, edit, scratch.read(edit.file)))
    const { report, output } = await scratch.vitest(['run', ...broken.tests.files, '-t', patternOf(entry)])
    if (report === null) return outcome(`no report: ${output.trim().split('\n').at(-1)}`)
    const tests = report.testResults.flatMap(({ assertionResults }) => assertionResults)
    const ran = tests.filter(
      ({ fullName, status }) => green.has(fullName) && (status === 'passed' || status === 'failed'),
    )
    const red = ran.filter(({ status }) => status === 'failed')
    // Code that does not even load proves nothing about the tests.
    if (ran.length === 0) return outcome('none of its tests ran (or none is green without it)')
    if (red.length === 0) return outcome(`stays green, ${ran.length} tests`)
    const { says } = broken
    if (says !== undefined && !red.some(({ failureMessages = [] }) => failureMessages.join('\n').includes(says)))
      return outcome(`turns red, but does not say ${says}`)
    return outcome(`turns red, ${red.length} of ${ran.length} tests`, true)
  } finally {
    for (const [file, text] of originals) scratch.write(file, text)
  }
}

function table(outcomes: Outcome[]): string {
  const width = Math.max(...outcomes.map(({ name }) => name.length))
  const lines = outcomes.map(
    ({ name, rule, verdict, bites }) => `${bites ? '✓' : '✗'} ${name.padEnd(width)}  ${rule.padEnd(6)}  ${verdict}`,
  )
  const biting = outcomes.filter(({ bites }) => bites).length
  return `\n${lines.join('\n')}\n\n${biting} of ${outcomes.length} breaks are noticed\n`
}

process.exitCode = await main(process.argv.slice(2))
