/** What the doctor is told of the trees and processes of apps (R14.3). */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ownerIsGone } from './artifacts/owners.ts'
import { packagesAbove } from './ground.ts'
import { isId, trashOf } from './providers/process/instance-directory.ts'
import { undying } from './undying.ts'

type Check = { name: string; ok: boolean; message: string; hint?: string }

export type RuntimeFacts = {
  home: string
  homeId: string
  /** Ids of all instances that the inventory has now. */
  instances: () => Promise<ReadonlySet<string>>
}

export async function runtimeChecks({ home, homeId, instances }: RuntimeFacts): Promise<Check[]> {
  return [packagesOfApps(home), await leftovers(home, instances), await processes(homeId)]
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

/** To delete what a store has taken out, or a dead process left half built, takes seconds, and it is looked at again every ten minutes. */
const TRASH_MS = 15 * 60_000

async function leftovers(home: string, instances: RuntimeFacts['instances']): Promise<Check> {
  const name = 'set aside'
  const folder = join(home, 'instances')
  const stuck: string[] = []
  const unread: string[] = []
  const look = async (path: string): Promise<Entry[]> =>
    entriesOf(path).catch((error: Error) => {
      unread.push(error.message)
      return []
    })
  // An instance is written down before anything of it exists, so the folder is read first.
  const there = (await look(folder)).filter((entry) => isId(entry.name))
  const known = await instances()
  // One that is on its way out goes before its record does, and may have gone meanwhile.
  for (const { name: id, path } of there) if (!known.has(id) && (await ageOf(path)) !== null) stuck.push(path)
  stuck.push(...(await look(trashOf(folder))).map(({ path }) => path))
  for (const store of ['artifacts', 'sources']) {
    const halfBuilt = (await look(join(home, store, 'making'))).filter((entry) => ownerIsGone(entry.name))
    for (const { path } of [...(await look(join(home, store, 'trash'))), ...halfBuilt])
      if (((await ageOf(path)) ?? 0) >= TRASH_MS) stuck.push(path)
  }
  if (stuck.length + unread.length === 0)
    return { name, ok: true, message: 'everything that was to be removed is removed' }
  const some = `${stuck.slice(0, 5).join(', ')}${stuck.length > 5 ? `, and ${stuck.length - 5} more` : ''}`
  return {
    name,
    ok: false,
    message: [...(stuck.length > 0 ? [`could not be removed: ${some}`] : []), ...unread].join('; '),
    hint: 'See what holds it (rm -r says so; a mount, another owner, a folder or a disk that cannot be written); it is tried again every ten minutes.',
  }
}

type Entry = { name: string; path: string }

async function entriesOf(folder: string): Promise<Entry[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names.map((name) => ({ name, path: join(folder, name) }))
}

/** How long ago it was last changed or moved, in ms; null when it is not there any more. */
async function ageOf(path: string): Promise<number | null> {
  return lstat(path).then(
    ({ ctimeMs }) => Date.now() - ctimeMs,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? null : Number.POSITIVE_INFINITY),
  )
}
