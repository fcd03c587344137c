/**
 * Holds the worker at a point of a saga, for crash tests (DESIGN D17): while the folder that `COPPICE_FAULTS` names has
 * a file `<step>.<moment>` (slashes of the step written as `_`), the worker writes its pid beside it, as
 * `<step>.<moment>.held`, and waits until the file is gone. Without the variable there is nothing to look for.
 *
 * A file may name the kind of a step alone, `start.before`, which holds every step of that kind, or the app and the
 * kind, `hello@start.before`, which holds those of that app.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Faults, noFaults } from '../activities/faults.ts'

const LOOK_MS = 10

export function createFaults(folder: string | undefined, appOf: (operation: string) => Promise<string | null>): Faults {
  if (folder === undefined || folder === '') return noFaults
  return async (step, moment, { operation, app }) => {
    const kind = `${step.split('/')[0]}.${moment}`
    const names = [`${step.replaceAll('/', '_')}.${moment}`, kind, `${app ?? (await appOf(operation))}@${kind}`]
    const asked = readdirSync(folder).find((file) => names.includes(file))
    if (asked === undefined) return
    const file = join(folder, asked)
    writeFileSync(`${file}.held`, String(process.pid))
    while (existsSync(file)) await sleep(LOOK_MS)
  }
}
