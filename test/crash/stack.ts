/** A stack for crash tests: its platform, the doors to it, the fuses of its apps, and the rounds that run on it. */

import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { Platform } from '../helpers/platform.ts'
import { Doors } from './client.ts'
import { Rounds } from './round.ts'

export type CrashStack = { platform: Platform; rounds: Rounds; stop: () => Promise<void> }

export async function startCrashStack(): Promise<CrashStack> {
  const fuses = await mkdtemp(join(tmpdir(), 'coppice-fuses-'))
  const platform = await Platform.start({ env: { COPPICE_MAX_SCALED_APPS: '10000' } })
  const doors = await Doors.open(platform)
  return {
    platform,
    rounds: new Rounds({ platform, doors, fuses }),
    stop: async () => {
      await doors.close()
      await platform.stop()
      await removeTree(fuses)
    },
  }
}
