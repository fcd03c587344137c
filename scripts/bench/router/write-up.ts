import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** One proxy under one load; medians over the rounds. */
export type Row = { load: string; peer: string; perSecond: number; cpuMicros: number; p50: number; p99: number }

/** `docs/benchmarks/router.md` and `router.svg`. */
export function writeUp(folder: string, rows: Row[], figures: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'router.svg'), chart(rows.filter((row) => row.load === 'small GET')))
  const loads = [...new Set(rows.map((row) => row.load))]
  const tables = loads.map((load) => {
    const lines = rows
      .filter((row) => row.load === load)
      .map(
        (r) => `| ${r.peer} | ${r.perSecond.toFixed(0)} | ${fixed(r.cpuMicros)} | ${fixed(r.p50)} | ${fixed(r.p99)} |`,
      )
    return `### ${load}\n\n| proxy | per second | CPU, µs each | p50, ms | p99, ms |\n|---|---:|---:|---:|---:|\n${lines.join('\n')}\n`
  })
  writeFileSync(
    join(folder, 'router.md'),
    `# The router beside its peers

Written by \`npm run bench -- router\`; figures of one machine, so compare the ratios. All Node proxies run under the same
Node, each in one process; HAProxy and nginx with one thread and the duties of our router (affinity, request ids,
forwarded headers). Rounds are interleaved, figures are medians. 15 headers as browsers send them.

![CPU time per request](router.svg)

${tables.join('\n')}
## Figures

${figures}`,
  )
}

const fixed = (value: number) => (Number.isNaN(value) ? '–' : value.toFixed(value < 10 ? 2 : 1))

function chart(rows: Row[]): string {
  const sorted = [...rows].sort((a, b) => a.cpuMicros - b.cpuMicros)
  const most = Math.max(...sorted.map((row) => row.cpuMicros))
  const bars = sorted.map((row, i) => {
    const y = 44 + i * 34
    const width = Math.max(2, (row.cpuMicros / most) * 380)
    return `<text x="178" y="${y + 15}" text-anchor="end">${row.peer}</text><rect x="188" y="${y}" width="${width.toFixed(1)}" height="22" rx="3" class="${row.peer === 'ours' ? 'ours' : 'peer'}"/><text x="${(196 + width).toFixed(1)}" y="${y + 15}">${row.cpuMicros.toFixed(0)} µs</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 ${60 + sorted.length * 34}" font-family="system-ui, sans-serif" font-size="13"><style>text{fill:#24292f}.peer{fill:#8c959f}.ours{fill:#1a7f37}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#3fb950}}</style><text x="188" y="24" font-weight="600">CPU time per request, small GET (shorter is better)</text>${bars.join('')}</svg>\n`
}
