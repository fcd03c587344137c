import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { BenchResult, Figure } from './bench/figures.ts'
import { ROOT } from './stack-options.ts'

/**
 * `npm run bench -- <name> [--json FILE]` runs `scripts/bench/<name>.ts` and shows its figures (DESIGN D19). Exits 1
 * when a figure does not hold its bar, so that CI can watch it.
 */
const FOLDER = join(import.meta.dirname, 'bench')

const names = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
  .map((entry) => entry.name.slice(0, -'.ts'.length))
  .filter((name) => name !== 'figures')

const { values, positionals } = parseArgs({
  options: { json: { type: 'string' } },
  allowPositionals: true,
  strict: true,
})
const [name] = positionals
if (name === undefined || positionals.length !== 1 || !names.includes(name)) {
  process.stderr.write(`npm run bench -- <name> [--json FILE]\nnames: ${names.join(', ')}\n`)
  process.exit(2)
}

const { bench } = (await import(pathToFileURL(join(FOLDER, `${name}.ts`)).href)) as {
  bench: () => Promise<BenchResult>
}
const { figures } = await bench()
const report = { bench: name, machine: machine(), figures }
process.stdout.write(table(figures))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
const holds = Object.values(figures).every((figure) => figure.holds !== false)
// A bench may leave a connection or a timer behind; its figures are out.
process.exit(holds ? 0 : 1)

function table(all: Record<string, Figure>): string {
  const rows = Object.entries(all).map(([id, figure]) => [
    id,
    `${round(figure.value)} ${figure.unit}`,
    figure.bar ?? '',
    figure.holds === undefined ? '' : figure.holds ? 'holds' : 'DOES NOT HOLD',
    figure.what ?? '',
  ])
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)))
  const line = (row: string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return `${rows.map(line).join('\n')}\n`
}

function machine() {
  const [cpu] = cpus()
  let commit = ''
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim()
  } catch {
    // Not a clone.
  }
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${process.platform} ${release()}`,
    node: process.versions.node,
    commit,
    at: new Date().toISOString(),
  }
}

function round(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}
