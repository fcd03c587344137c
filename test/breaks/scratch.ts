import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { endTagged } from '../../scripts/tagged-processes.ts'
import type { TestReport } from '../../scripts/test-report.ts'
import { copyWorkTree } from '../../scripts/work-tree.ts'

/** A copy of the work tree as it is, uncommitted changes included, in which things may be broken. */
export type Scratch = {
  read(file: string): string
  write(file: string, text: string): void
  /** Null when there is no report: vitest itself failed or took too long (ms); its output says why. */
  vitest(args: string[], timeoutMs?: number): Promise<{ report: TestReport | null; output: string }>
  remove(): Promise<void>
}

const TAG = 'COPPICE_BREAKS_SCRATCH'
const RUN_TIMEOUT_MS = 10 * 60_000
const END_TIMEOUT_MS = 20_000
const POLL_MS = 200

export function makeScratch(): Scratch {
  const folder = mkdtempSync(join(tmpdir(), 'coppice-breaks-'))
  copyWorkTree(folder)
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const reportFile = join(folder, 'report.json')
  return {
    read: (file) => readFileSync(join(folder, file), 'utf8'),
    write: (file, text) => writeFileSync(join(folder, file), text),
    vitest: async (wanted, timeoutMs = RUN_TIMEOUT_MS) => {
      rmSync(reportFile, { force: true })
      const vitest = join(folder, 'node_modules', '.bin', 'vitest')
      const args = [...wanted, '--reporter=json', `--outputFile=${reportFile}`]
      const env = { ...process.env, [TAG]: folder }
      const child = spawn(vitest, args, { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
      let output = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
      const ended = once(child, 'exit').then(() => true)
      const deadline = Date.now() + timeoutMs
      // Once the report is out, what a broken test has left behind may keep vitest waiting for its output.
      while (!(await Promise.race([ended, sleep(POLL_MS, false)]))) {
        if (readReport(reportFile) === null && Date.now() < deadline) continue
        if (await Promise.race([ended, sleep(END_TIMEOUT_MS, false)])) break
        if (readReport(reportFile) === null) output += `\nended after ${timeoutMs / 60_000} min`
        process.kill(-(child.pid as number), 'SIGKILL')
        await ended
      }
      // Broken code may well leave processes behind.
      await endTagged(TAG, folder)
      return { report: readReport(reportFile), output }
    },
    remove: () => removeTree(folder),
  }
}

function readReport(file: string): TestReport | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as TestReport
  } catch {
    return null
  }
}
