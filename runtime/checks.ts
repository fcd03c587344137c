/** What the doctor is told of the trees of apps (R14.3). */
import { join } from 'node:path'
import { packagesAbove } from './ground.ts'

type Check = { name: string; ok: boolean; message: string; hint?: string }

export async function runtimeChecks(home: string): Promise<Check[]> {
  return [packagesOfApps(home)]
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
