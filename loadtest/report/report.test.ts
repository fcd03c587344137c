import { expect, it } from 'vitest'
import { renderReport } from './report.ts'
import type { RunData } from './run-data.ts'
import { seriesOf } from './series.ts'

const run = (more: Partial<RunData> = {}): RunData => ({
  scenario: 'deploy',
  words: 'nothing <happens>',
  rules: ['R3.4'],
  app: null,
  outcome: 'held',
  unfit: [],
  skipped: [],
  seed: 7,
  startedAt: '2026-11-23T05:40:00.000Z',
  seconds: 10,
  rate: 60,
  durationMs: 10_000,
  requests: 600,
  sessions: 100,
  moved: 0,
  routers: 2,
  promises: [{ by: 'check', name: 'lost', rule: 'R3.4', words: 'requests lost', count: 0, findings: [] }],
  marks: [],
  operations: [],
  series: seriesOf([], 0, 10_000),
  ...more,
})

it('R11.3 the report needs nothing but itself, and says at its top what was found', async () => {
  const html = await renderReport([run()])
  expect(html).toMatch(/<h1>.*All 1 promises held<\/h1>/)
  expect(html).toContain('deploy --quick --seed 7')
  expect(await renderReport([run({ rate: 99 })])).toContain('deploy --rate 99 --duration 10s --seed 7')
  // No address of anything outside, but for namespaces and comments of the library.
  expect(html).not.toMatch(/(?:src|href)="(?!#)/)
  expect(html).not.toMatch(/@import|url\(/)
  expect(html).toContain('uPlot')
})

/** What stands above everything else. */
const topOf = (html: string) => /<header[\s\S]*<\/header>/.exec(html)?.[0] ?? ''

it('R11.3 of one scenario the top says what was tested and what was done to the app, numbered as in the charts', async () => {
  const kill = { at: 3.1, until: 5, kind: 'fault', words: 'SIGKILL of slot 2' }
  const top = topOf(await renderReport([run({ words: 'an instance is killed', marks: [kill] })]))
  expect(top).toContain('<b>deploy</b>')
  expect(top).toContain('An instance is killed.')
  expect(top).toContain('<b>600</b> requests in 10 s')
  expect(top).toMatch(/>1<\/b> SIGKILL of slot 2 <small>at 3 s/)
})

it('R11.2 of an app that was there already the top has its name, and the command for that one', async () => {
  const top = topOf(await renderReport([run({ app: 'shop' })]))
  expect(top).toContain('of <b>shop</b>')
  expect(top).toContain('<code>coppice loadtest shop deploy --quick --seed 7</code>')
})

it('R11.3 a long list of faults does not push the verdict out of sight', async () => {
  const marks = Array.from({ length: 30 }, (_, at) => ({ at, until: at, kind: 'fault', words: `fault ${at}` }))
  const top = topOf(await renderReport([run({ marks })]))
  expect(top.match(/fault \d/g)).toHaveLength(4)
  expect(top).toContain('and 26 more')
})

it('R11.3 a run that proves nothing says at its top why', async () => {
  const top = topOf(await renderReport([run({ outcome: 'unfit', unfit: ['the run was cut short: interrupted'] })]))
  expect(top).toMatch(/<h1>.*Nothing proved<\/h1>\s*<p class="note">The run was cut short: interrupted\.</)
  const html = await renderReport([run({ outcome: 'unfit', unfit: ['nothing answered'] })])
  expect(html).toContain('aria-label="nothing proved"')
  expect(html).not.toContain('✓')
  const less = topOf(await renderReport([run({ skipped: ['SIGKILL of an instance'] })]))
  expect(less).toMatch(/promises held<\/h1>\s*<p class="note">Left out: SIGKILL of an instance\.</)
})

it('R11.3 a broken promise comes with its rule and what was found, as text', async () => {
  const lost = { ...(run().promises[0] as RunData['promises'][number]), count: 3, findings: ['GET got <no> answer'] }
  const html = await renderReport([run({ outcome: 'broken', promises: [lost] })])
  expect(topOf(html)).toMatch(
    /<h1>.*1 of 1 promises broken<\/h1>\s*<p class="note">Deploy: 3 requests lost \(R3\.4\)\.</,
  )
  expect(html).toContain('GET got &#60;no&#62; answer')
  expect(html).toMatch(/<dt>R3\.4<dd>Under load a deployment fails no request/)
  expect(html).toContain('and 2 more')
  expect(html).not.toContain('<no>')
  expect(html).not.toContain('<happens>')
})
