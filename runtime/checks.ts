/** What the doctor is told of the trees and processes of apps (R14.3). */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { packagesAbove } from './ground.ts'
import { trashOf } from './providers/process/instance-directory.ts'
import { undying } from './undying.ts'

type Check = { name: string; ok: boolean; message: string; hint?: string }

export async function runtimeChecks(home: string, homeId: string): Promise<Check[]> {
  return [packagesOfApps(home), await setAside(home), await processes(homeId)]
}

async function processes(homeId: string): Promise<Check> {
  const name = 'processes'
  const found = await undying(homeId)
  if (found.length === 0) return { name, ok: true, message: 'every process that was ended is gone' }
  const some = found.slice(0, 5).map(({ pid, of }) => `${pid} of ${of}`)
  return {
    name,
    ok: false,
    message: `sent SIGKILL and still there: ${some.join(', ')}${found.length > 5 ? `, and ${found.length - 5} more` : ''}`,
    hint: 'The kernel waits with them for something: a disk or network file system that does not answer, a frozen control group (cat /proc/PID/stack, as root, says what). They end by themselves when it goes on. No operation waits for them; the ports that they have are passed over.',
  }
}

function packagesOfApps(home: string): Check {
  const name = 'packages of apps'
  const found = packagesAbove(join(home, 'instances'))
  if (found === null) return { name, ok: true, message: 'apps and builds find what they declare, and nothing above it' }
  return {
    name,
    ok: false,
    message: `apps and builds find what lies in ${found}, although they do not declare it`,
    hint: 'Move that folder away; or name a place without one above it in XDG_STATE_HOME, and coppice down and up.',
  }
}

/** To delete what is in the trash of a store takes seconds, and it is looked at again every ten minutes. */
const TRASH_MS = 15 * 60_000

async function setAside(home: string): Promise<Check> {
  const name = 'set aside'
  const stuck = await entriesOf(trashOf(join(home, 'instances')), 0)
  for (const store of ['artifacts', 'sources']) stuck.push(...(await entriesOf(join(home, store, 'trash'), TRASH_MS)))
  if (stuck.length === 0) return { name, ok: true, message: 'everything that was to be removed is removed' }
  return {
    name,
    ok: false,
    message: `could not be removed: ${stuck.slice(0, 5).join(', ')}${stuck.length > 5 ? `, and ${stuck.length - 5} more` : ''}`,
    hint: 'See what holds it (rm -r says so; a mount, another owner); it is tried again every ten minutes.',
  }
}

async function entriesOf(trash: string, minAgeMs: number): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(trash).catch(() => [])) {
    const path = join(trash, entry)
    const stats = await stat(path).catch(() => null)
    if (stats !== null && Date.now() - stats.ctimeMs >= minAgeMs) found.push(path)
  }
  return found
}
