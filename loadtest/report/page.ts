import type { RunData } from './run-data.ts'

export type Assets = { style: string; scripts: string[] }

/** More of them stand between the reader and the charts. */
const MOST_MARKS = 8

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
  const [first] = runs
  const title = `Load test: ${runs.map(({ scenario }) => scenario).join(', ')}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(`${OUTCOMES[worst].sign} ${title}`)}</title>
<style>${assets.style}</style>
<header class="banner ${worst}">
  <h1>${banner(runs, worst)}</h1>
  <p>${escaped((first?.startedAt ?? '').slice(0, 16).replace('T', ' '))} UTC · seed ${first?.seed ?? ''} · repeat: <code>npm run loadtest -- ${escaped(repeat(runs))}</code></p>
</header>
${runs.length > 1 ? overview(runs) : ''}
<main>
${runs.map(section).join('\n')}
</main>
<footer>What each promise means: <code>docs/rules.md</code>. How this was measured: <code>docs/loadtest.md</code>. The numbers behind the charts: <code>series.json</code>.</footer>
<script type="application/json" id="runs">${JSON.stringify(runs).replaceAll('<', '\\u003c')}</script>
${assets.scripts.map((script) => `<script>${script.replaceAll('</script', '<\\/script')}</script>`).join('\n')}
</html>
`
}

function banner(runs: RunData[], worst: keyof typeof OUTCOMES): string {
  const sign = `<span aria-hidden="true">${OUTCOMES[worst].sign}</span> `
  const broken = runs.flatMap(({ promises }) => promises.filter(({ count }) => count > 0)).length
  const total = runs.reduce((sum, { promises }) => sum + promises.length, 0)
  switch (worst) {
    case 'held':
      return `${sign}All ${total} promises held`
    case 'broken':
      return `${sign}${broken} of ${total} promises broken`
    case 'unfit':
      return `${sign}Nothing proved: the load generator could not do its work`
  }
}

/** Scenarios of one command may differ in rate and duration; then they are the scenarios' own. */
function repeat(runs: RunData[]): string {
  const names = runs.map(({ scenario }) => scenario).join(' ')
  const [first] = runs as [RunData]
  const load = runs.length === 1 ? ` --rate ${first.rate} --duration ${first.durationMs / 1000}s` : ''
  return `${names}${load} --seed ${first.seed}`
}

function overview(runs: RunData[]): string {
  const rows = runs.map(
    ({ scenario, words, outcome }) =>
      `<li class="${outcome}"><a href="#${escaped(scenario)}">${OUTCOMES[outcome].sign} ${escaped(scenario)}</a> <span>${escaped(words)}</span></li>`,
  )
  return `<nav><ul>${rows.join('')}</ul></nav>`
}

function section(run: RunData, index: number): string {
  const { scenario, words, outcome } = run
  return `<section id="${escaped(scenario)}">
<h2>${escaped(scenario)} <small class="${outcome}">${OUTCOMES[outcome].words}</small></h2>
<p class="lead">${escaped(words[0]?.toUpperCase() + words.slice(1))}.</p>
<ul class="facts">${facts(run)
    .map(([value, name]) => `<li><b>${escaped(value)}</b> ${escaped(name)}</li>`)
    .join('')}</ul>
${[...run.unfit, ...run.skipped.map((what) => `left out: ${what}`)].map((why) => `<p class="note">${escaped(why)}</p>`).join('')}
<h3>Promises</h3>
<ul class="promises">${run.promises.map(promise).join('')}</ul>
${happened(run)}
<h3>Answers a second, by instance</h3>
<div class="chart" data-run="${index}" data-chart="instances"></div>
<h3>How long answers took</h3>
<div class="chart" data-run="${index}" data-chart="latency"></div>
<h3>Failures and moved sessions</h3>
${trouble(run, index)}
</section>`
}

function facts(run: RunData): Array<[string, string]> {
  const all = run.series.p99.filter((value) => value !== null)
  return [
    [count(run.requests), `requests in ${Math.round(run.seconds)} s`],
    [count(run.sessions), 'sessions'],
    [count(run.series.instances.length), 'instances answered'],
    [String(run.routers), run.routers === 1 ? 'router' : 'routers'],
    [count(failures(run)), failures(run) > 0 && run.outcome === 'held' ? 'failed, as the rules allow' : 'failed'],
    [count(run.moved), 'moves of sessions'],
    ...(all.length > 0 ? [[`${count(Math.max(...all))} ms`, 'slowest p99'] as [string, string]] : []),
  ]
}

const failures = ({ series }: RunData): number =>
  Math.round(series.failed.reduce((sum, perSecond) => sum + (perSecond * series.bucketMs) / 1000, 0))

function promise({ words, count: times, rule, by, name, findings }: RunData['promises'][number]): string {
  const broken = times > 0
  const found = findings.map((text) => `<pre>${escaped(text)}</pre>`).join('')
  const more = times > findings.length && findings.length > 0 ? `<p>and ${count(times - findings.length)} more</p>` : ''
  const source = `${name}: ${by === 'threshold' ? 'a threshold of k6' : 'checked after the run'}`
  return `<li class="${broken ? 'broken' : 'held'}" title="${escaped(source)}"><span class="sign" aria-label="${broken ? 'broken' : 'held'}">${broken ? '✗' : '✓'}</span><span><b>${count(times)}</b> ${escaped(words)} <small>${escaped(rule)}${by === 'threshold' ? ', k6' : ''}</small>${found === '' ? '' : `<details open><summary>${escaped(name)}: what was found</summary>${found}${more}</details>`}</span></li>`
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

function escaped(value: string): string {
  return value.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
