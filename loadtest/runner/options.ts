import { parseArgs } from 'node:util'
import { CoppiceError } from '../../domain/errors.ts'
import { readDuration } from '../k6/settings.ts'

/** What `npm run loadtest -- …` can be told. */
export type LoadTestOptions = {
  /** Names of scenarios, in the order in which they run. */
  scenarios: string[]
  /** The form for CI: shorter and gentler. */
  quick: boolean
  /** Requests a second; null: the scenario's own. */
  rate: number | null
  /** How long at least, ms; operations that take longer prolong it. Null: the scenario's own. */
  durationMs: number | null
  /** Same seed, same traffic and same choice of victims. */
  seed: number
  /** Leaves the stack and the app running. */
  keep: boolean
  /** Settings of the k6 scripts that win over those of the runner. */
  env: Record<string, string>
  /** Where report, series and histories go. */
  out: string
  /** An app that is deployed already, instead of a stack of our own. */
  attach: { app: string; apiUrl: string; token: string } | null
}

const FLAGS = {
  quick: { type: 'boolean' },
  rate: { type: 'string' },
  duration: { type: 'string' },
  seed: { type: 'string' },
  keep: { type: 'boolean' },
  out: { type: 'string' },
  env: { type: 'string', short: 'e', multiple: true },
  app: { type: 'string' },
  'api-url': { type: 'string' },
  help: { type: 'boolean' },
} as const

export const helpText = (scenarios: Record<string, { words: string }>): string =>
  [
    'npm run loadtest -- <scenario …|all> [flags]',
    '',
    ...Object.entries(scenarios).map(([name, { words }]) => `  ${name.padEnd(14)}${words}`),
    '',
    '  --quick          shorter and gentler, for CI',
    '  --rate N         requests a second',
    '  --duration T     at least so long, e.g. 90s or 20m',
    '  --seed N         the seed that an earlier run printed: same traffic, same victims',
    '  --keep           leave the stack and the app running',
    '  -e NAME=value    a setting of the scripts, see docs/loadtest.md',
    '  --out DIR        folder of the results (loadtest/results/…)',
    '  --app NAME       an app that is deployed already (coppice loadtest NAME …), with',
    '  --api-url URL    where its API is; the token is taken from COPPICE_TOKEN',
    '',
    'Exit codes: 0 all promises held · 99 one was broken (as of k6) · 75 the harness was unfit, nothing is proved ·',
    '1 the run failed · 2 wrong command line · 130 interrupted',
    '',
  ].join('\n')

/** @returns null when help was asked for. Throws CoppiceError InvalidInput. */
export function resolveOptions(
  argv: string[],
  given: { known: string[]; env: NodeJS.ProcessEnv; resultsFolder: string; drawSeed: () => number },
): LoadTestOptions | null {
  const { known, env } = given
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(argv)
  } catch (error) {
    throw invalid('argv', (error as Error).message)
  }
  const { values, positionals } = parsed
  if (values.help === true) return null
  const wanted = positionals.includes('all') ? known.filter((name) => name !== 'soak') : positionals
  if (wanted.length === 0) throw invalid('scenario', `name a scenario: ${known.join(', ')} or all`)
  for (const name of wanted) {
    if (!known.includes(name)) throw invalid('scenario', `there is no scenario ${name}; there are ${known.join(', ')}`)
  }
  const token = env.COPPICE_TOKEN ?? ''
  if (values.app !== undefined && (values['api-url'] === undefined || token === '')) {
    throw invalid('app', '--app needs --api-url and COPPICE_TOKEN; "coppice loadtest NAME …" finds both')
  }
  const number = (flag: 'rate' | 'seed'): number | null => {
    if (values[flag] === undefined) return null
    const value = Number(values[flag])
    if (Number.isInteger(value) && value > 0) return value
    throw invalid(flag, `--${flag}: "${values[flag]}" is not a whole number above 0`)
  }
  return {
    scenarios: wanted,
    quick: values.quick === true,
    rate: number('rate'),
    durationMs: values.duration === undefined ? null : duration(values.duration),
    seed: number('seed') ?? given.drawSeed(),
    keep: values.keep === true,
    env: Object.fromEntries((values.env ?? []).map(setting)),
    out: values.out ?? given.resultsFolder,
    attach: values.app === undefined ? null : { app: values.app, apiUrl: values['api-url'] as string, token },
  }
}

const parse = (argv: string[]) => parseArgs({ args: argv, options: FLAGS, allowPositionals: true })

const invalid = (field: string, message: string) => new CoppiceError('InvalidInput', message, { field })

function setting(text: string): [string, string] {
  const [, name, value] = /^([A-Z_]+)=(.*)$/s.exec(text) ?? []
  if (name === undefined || value === undefined) throw invalid('env', `-e: "${text}" is not NAME=value`)
  return [name, value]
}

function duration(text: string): number {
  try {
    return readDuration('--duration', text)
  } catch (error) {
    throw invalid('duration', (error as Error).message)
  }
}
