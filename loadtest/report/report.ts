/** The report (R11.3): one HTML file that needs nothing else, and the same series as JSON beside it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { RULES_FILE, ruleRows } from '../../scripts/rules-doc.ts'
import type { ScenarioResult } from '../runner/run-scenario.ts'
import { page } from './page.ts'
import { type RunData, runData } from './run-data.ts'

const require = createRequire(import.meta.url)

/** Writes `report.html` and `series.json` into the folder. @returns path of the former */
export async function writeReport(results: ScenarioResult[], folder: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const runs = results.map(runData)
  await writeFile(join(folder, 'series.json'), JSON.stringify({ runs }, null, 1))
  const file = join(folder, 'report.html')
  await writeFile(file, await renderReport(runs))
  return file
}

export async function renderReport(runs: RunData[]): Promise<string> {
  const own = (name: string) => readFile(join(import.meta.dirname, name), 'utf8')
  const [style, charts, library, libraryStyle, rules] = await Promise.all([
    own('style.css'),
    own('charts.js'),
    readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
    readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
    readFile(RULES_FILE, 'utf8'),
  ])
  return page(runs, {
    style: libraryStyle + style,
    scripts: [library, charts],
    rules: new Map(ruleRows(rules).map(({ id, rule }) => [id, rule.replaceAll(/[`*]/g, '')])),
  })
}
