import { assertNever } from '../../domain/states.ts'
import { SCENARIOS } from '../scenarios.ts'
import type { RunData } from './run-data.ts'

export type Assets = {
  style: string
  scripts: string[]
  /** Text of the rules by their ids. */
  rules: ReadonlyMap<string, string>
}

/** More of them stand between the reader and the charts. */
const MOST_MARKS = 8
/** Of more than that, so many stand at the top. */
const FIRST_MARKS = 4
const MOST_REASONS = 3

type Outcome = RunData['outcome']

const OUTCOMES = {
  held: { sign: '✓', words: 'held' },
  broken: { sign: '✗', words: 'broken' },
  unfit: { sign: '?', words: 'nothing proved' },
} as const

/** The page as text: readable without its scripts, which only draw the charts. */
export function page(runs: RunData[], assets: Assets): string {
  const worst = runs.some(({ outcome }) => outcome === 'broken')
    ? 'broken'
    : runs.every(({ outcome }) => outcome === 'held')
      ? 'held'
      : 'unfit'
  const title = `Load test: ${runs.map(({ scenario }) => scenario).join(', ')}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(`${OUTCOMES[worst].sign} ${title}`)}</title>
<style>${assets.style}</style>
${banner(runs, worst)}
${runs.length > 1 ? overview(runs) : ''}
<main>
${runs.map((run, index) => section(run, index, runs.length > 1)).join('\n')}
</main>
${rulesOf(runs, assets.rules)}
<footer>All rules: <code>docs/rules.md</code>. How this was measured: <code>docs/loadtest.md</code>. The numbers behind the charts: <code>series.json</code>.</footer>
<script type="application/json" id="runs">${JSON.stringify(runs).replaceAll('<', '\\u003c')}</script>
${assets.scripts.map((script) => `<script>${script.replaceAll('</script', '<\\/script')}</script>`).join('\n')}
</html>
`
}

/** All that somebody reads who has ten seconds: what was tested, whether it held, what happened meanwhile. */
function banner(runs: RunData[], worst: Outcome): string {
  const [first] = runs as [RunData]
  const one = runs.length === 1
  const what = one ? first.scenario : `${runs.length} scenarios`
  return `<header class="banner ${worst}">
<p class="what">Load test${first.app === null ? '' : ` of <b>${escaped(first.app)}</b>`}: <b>${escaped(what)}</b></p>
<h1><span aria-hidden="true">${OUTCOMES[worst].sign}</span> ${verdict(runs, worst)}</h1>
${reasons(runs, worst).map(note).join('')}
${one ? `<p class="lead">${escaped(sentence(first.words))}</p>` : ''}
${one ? facts(first) + meanwhile(first) : ''}
<p class="fine">${escaped(first.startedAt.slice(0, 16).replace('T', ' '))} UTC · seed ${first.seed} · repeat: <code>${escaped(repeat(runs))}</code></p>
</header>`
}

function verdict(runs: RunData[], worst: Outcome): string {
  const broken = runs.flatMap(({ promises }) => promises.filter(({ count }) => count > 0)).length
  const total = runs.reduce((sum, { promises }) => sum + promises.length, 0)
  switch (worst) {
    case 'held':
      return `All ${total} promises held`
    case 'broken':
      return `${broken} of ${total} promises broken`
    case 'unfit':
      return 'Nothing proved'
    default:
      return assertNever(worst)
  }
}

/** Why it is not green, or less than it seems: the first few. */
function reasons(runs: RunData[], worst: Outcome): string[] {
  const unfit = runs.flatMap((run) => run.unfit)
  const skipped = runs.flatMap((run) => run.skipped.map((what) => `left out: ${what}`))
  const broken = runs.flatMap(({ scenario, promises }) =>
    promises
      .filter(({ count }) => count > 0)
      .map(({ count: times, words, rule }) => `${scenario}: ${count(times)} ${words} (${rule})`),
  )
  const all = [...(worst === 'unfit' ? unfit : broken), ...skipped]
  return all.length > MOST_REASONS ? [...all.slice(0, MOST_REASONS), `and ${all.length - MOST_REASONS} more`] : all
}

const note = (words: string): string => `<p class="note">${escaped(sentence(words))}</p>`

function meanwhile({ marks }: RunData): string {
  if (marks.length === 0) return '<p class="meanwhile">Nothing was done to the app on purpose.</p>'
  const shown = marks.length > MOST_MARKS ? marks.slice(0, FIRST_MARKS) : marks
  const items = shown.map(
    ({ kind, words, at }, index) =>
      `<li><b class="number ${escaped(kind)}">${index + 1}</b> ${escaped(words)} <small>at ${at.toFixed(0)} s</small></li>`,
  )
  const left = marks.length - shown.length
  return `<ol class="meanwhile" aria-label="Meanwhile">${items.join('')}${left > 0 ? `<li>and ${left} more</li>` : ''}</ol>`
}

/** Where rate or duration were told, they are those of all; else each scenario has its own. */
function repeat(runs: RunData[]): string {
  const names = runs.map(({ scenario }) => scenario).join(' ')
  const [first] = runs as [RunData]
  const own = (form: 'quick' | 'full') =>
    runs.every(({ scenario, rate, durationMs }) => {
      const load = SCENARIOS[scenario]?.[form]
      return load?.rate === rate && load.durationMs === durationMs
    })
  const load = own('full')
    ? ''
    : own('quick')
      ? ' --quick'
      : ` --rate ${first.rate} --duration ${first.durationMs / 1000}s`
  const command = first.app === null ? 'npm run loadtest --' : `coppice loadtest ${first.app}`
  return `${command} ${names}${load} --seed ${first.seed}`
}

function overview(runs: RunData[]): string {
  const rows = runs.map(
    ({ scenario, words, outcome }) =>
      `<li class="${outcome}"><a href="#${escaped(scenario)}">${OUTCOMES[outcome].sign} ${escaped(scenario)}</a> <span>${escaped(words)}</span></li>`,
  )
  return `<nav><ul>${rows.join('')}</ul></nav>`
}

/** @param named among several; one alone is named at the top */
function section(run: RunData, index: number, named: boolean): string {
  const { scenario, words, outcome } = run
  const head = `<h2>${escaped(scenario)} <small class="${outcome}">${OUTCOMES[outcome].sign} ${OUTCOMES[outcome].words}</small></h2>
<p class="lead">${escaped(sentence(words))}</p>
`
  return `<section id="${escaped(scenario)}">
${named ? head + facts(run) : ''}
${
  named
    ? reasons([{ ...run, promises: [] }], outcome)
        .map(note)
        .join('')
    : ''
}
<h3>Promises</h3>
<ul class="promises">${run.promises.map((row) => promise(row, outcome === 'unfit')).join('')}</ul>
${happened(run)}
<h3>Answers a second, by instance</h3>
<div class="chart" data-run="${index}" data-chart="instances"></div>
<h3>How long answers took</h3>
<div class="chart" data-run="${index}" data-chart="latency"></div>
<h3>Failures and moved sessions</h3>
${trouble(run, index)}
</section>`
}

function facts(run: RunData): string {
  const all = run.series.p99.filter((value) => value !== null)
  const pairs: Array<[string, string]> = [
    [count(run.requests), `requests in ${Math.round(run.seconds)} s`],
    [count(run.sessions), 'sessions'],
    [count(run.series.instances.length), 'instances answered'],
    [String(run.routers), run.routers === 1 ? 'router' : 'routers'],
    [count(failures(run)), failures(run) > 0 && run.outcome === 'held' ? 'failed, as the rules allow' : 'failed'],
    [count(run.moved), 'moves of sessions'],
    ...(all.length > 0 ? [[`${count(Math.max(...all))} ms`, 'slowest p99'] as [string, string]] : []),
  ]
  const items = pairs.map(([value, name]) => `<li><b>${escaped(value)}</b> ${escaped(name)}</li>`)
  return `<ul class="facts">${items.join('')}</ul>`
}

const failures = ({ series }: RunData): number =>
  Math.round(series.failed.reduce((sum, perSecond) => sum + (perSecond * series.bucketMs) / 1000, 0))

/** What an unfit run did not find proves nothing, and gets no tick. */
function promise(
  { words, count: times, rule, by, name, findings }: RunData['promises'][number],
  unfit: boolean,
): string {
  const outcome: Outcome = times > 0 ? 'broken' : unfit ? 'unfit' : 'held'
  const sign = OUTCOMES[outcome]
  const found = findings.map((text) => `<pre>${escaped(text)}</pre>`).join('')
  const more = times > findings.length && findings.length > 0 ? `<p>and ${count(times - findings.length)} more</p>` : ''
  const source = `${name}: ${by === 'threshold' ? 'a threshold of k6' : 'checked after the run'}`
  return `<li class="${outcome}" title="${escaped(source)}"><span class="sign" aria-label="${sign.words}">${sign.sign}</span><span><b>${count(times)}</b> ${escaped(words)} <small>${escaped(rule)}</small>${found === '' ? '' : `<details open><summary>${escaped(name)}: what was found</summary>${found}${more}</details>`}</span></li>`
}

/** What stands behind the ids at the promises. */
function rulesOf(runs: RunData[], rules: Assets['rules']): string {
  const named = new Set(runs.flatMap(({ promises }) => promises.flatMap(({ rule }) => rule.split(', '))))
  const known = [...rules].filter(([id]) => named.has(id))
  const items = known.map(([id, text]) => `<dt>${escaped(id)}<dd>${escaped(text)}`)
  return `<details class="rules"><summary>The rules in words</summary><dl>${items.join('')}</dl></details>`
}

function happened({ marks, operations }: RunData): string {
  if (marks.length === 0) return '<h3>What happened</h3><p>Nothing was done to the app on purpose.</p>'
  const rows = marks.map(({ at, until, kind, words }, index) => {
    const took = until === null ? 'not over at the end' : `${(until - at).toFixed(1)} s`
    return `<tr><td class="number ${escaped(kind)}">${index + 1}<td>${at.toFixed(1)} s<td>${escaped(words)}<td>${took}`
  })
  const steps = operations.map(
    ({ type, state, steps }) =>
      `<details><summary>Steps of the ${escaped(type)} (${escaped(state.toLowerCase())})</summary><table>${steps
        .map(
          ({ at, words, seconds }) =>
            `<tr><td>${at.toFixed(1)} s<td>${escaped(words)}<td>${seconds === null ? '–' : `${seconds.toFixed(2)} s`}`,
        )
        .join('')}</table></details>`,
  )
  const table = `<table class="marks"><tr><th><th>at<th>what<th>took${rows.join('')}</table>${steps.join('')}`
  const many = marks.length > MOST_MARKS
  return `<h3>What happened</h3>${many ? `<details><summary>${marks.length} faults and changes, numbered as in the charts</summary>${table}</details>` : table}`
}

function trouble(run: RunData, index: number): string {
  if (failures(run) === 0 && run.moved === 0) return '<p>No request failed, and no session moved.</p>'
  return `<div class="chart low" data-run="${index}" data-chart="trouble"></div>`
}

const count = (value: number): string => value.toLocaleString('en')

const sentence = (words: string): string => `${words.slice(0, 1).toUpperCase()}${words.slice(1).replace(/\.$/, '')}.`

function escaped(value: string): string {
  return value.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
