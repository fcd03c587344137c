import { join } from 'node:path'
import { pino } from 'pino'
import { CoppiceError } from '../../domain/errors.ts'
import { endLeftBuilds } from '../../runtime/builders/left-builds.ts'
import type { PortLeases } from '../../runtime/contracts.ts'
import { partsOf } from '../../runtime/ground.ts'
import { HOME_VARIABLE, INSTANCE_VARIABLE } from '../../runtime/providers/process/app-environment.ts'
import { sweepControlGroups } from '../../runtime/providers/process/control-group.ts'
import { meansOurs } from '../../runtime/providers/process/mounts.ts'
import { createProcessProvider } from '../../runtime/providers/process/process-provider.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { readHomeId } from '../../store/home-id.ts'
import { homePaths } from '../stack-options.ts'

/** SIGTERM, 15 s, SIGKILL (R3.6). */
const GRACE_MS = 15_000

/**
 * Ends the instances and builds of a data directory on which no worker runs. Instances outlive their worker on purpose
 * (D11); these outlived all of it. Whose they are stands in the inventory, and where that is lost, in their environment.
 *
 * @returns how many there were.
 * @throws CoppiceError Unavailable when any are left.
 */
export async function removeInstances(home: string, say: (words: string) => void): Promise<number> {
  const folders = partsOf(home, 'instances', process)
  const makings = partsOf(home, 'artifacts', process).map((folder) => join(folder, 'making'))
  const own = readHomeId(home, homePaths(home).inventory)
  let count = 0
  for (const homeId of new Set([...(own === null ? [] : [own]), ...(await homeIdsIn(folders))])) {
    for (const making of makings) await endLeftBuilds({ homeId, making })
    for (const folder of folders) count += await removeThose({ home, folder, homeId, say })
  }
  return count
}

/** Nothing is written, so that a full disk keeps nobody from ending what fills it: a port stays its instance's. */
const NOT_WRITTEN_DOWN: PortLeases = {
  acquire: () => Promise.reject(new Error('nothing is started here')),
  replace: () => Promise.reject(new Error('nothing is started here')),
  release: async () => {},
}

type Those = {
  home: string
  folder: string
  homeId: string
  say: (words: string) => void
}

async function removeThose({ home, folder, homeId, say }: Those): Promise<number> {
  const provider = createProcessProvider({
    home: folder,
    homeId,
    logsDir: join(home, 'logs', 'instances'),
    ports: NOT_WRITTEN_DOWN,
    logger: pino({ level: 'silent' }),
  })
  try {
    const ids = await provider.list()
    if (ids.length > 0) say(`Stopping ${ids.length} instance${ids.length === 1 ? '' : 's'}: ${ids.join(', ')}`)
    await Promise.all(
      ids.map(async (id) => {
        const { left } = await provider.remove(id, { graceMs: GRACE_MS })
        if (left !== null) say(`Of ${id} something is left: ${left}`)
      }),
    )
    sweepControlGroups(homeId)
    const rest = await provider.list()
    if (rest.length > 0) throw new CoppiceError('Unavailable', `Instances are left on ${home}: ${rest.join(', ')}`)
    return ids.length
  } finally {
    provider.close()
  }
}

/** Of the processes whose HOME lies in one of these folders, there or not. */
async function homeIdsIn(folders: readonly string[]): Promise<string[]> {
  const instances = await systemProcessTable().tagged([INSTANCE_VARIABLE, HOME_VARIABLE, 'HOME'])
  return instances
    .filter(({ pid, values: { HOME = '' } }) =>
      folders.some((folder) => HOME.startsWith(`${folder}/`) && meansOurs(pid, [folder, HOME])),
    )
    .flatMap(({ values }) => values[HOME_VARIABLE] ?? [])
}
