import { realpath } from 'node:fs/promises'
import { systemClock } from '../clock.ts'
import { HOME_VARIABLE } from '../providers/process/app-environment.ts'
import { memberOf } from '../providers/process/control-group.ts'
import { endFamily } from '../providers/process/family.ts'
import { systemProcessTable } from '../providers/process/process-table.ts'
import { BUILD_VARIABLE, buildGroup } from './command.ts'

/**
 * Ends what builds have left whose worker was killed: their group ends by itself, what left it does not. Not to be
 * called while a build of this data directory runs.
 *
 * @param making where half-built trees lie
 */
export async function endLeftBuilds({ homeId, making }: { homeId: string; making: string }): Promise<void> {
  const table = systemProcessTable()
  const tagged = await table.tagged([BUILD_VARIABLE, HOME_VARIABLE])
  const marked = tagged.flatMap(({ values }) => (values[HOME_VARIABLE] === homeId ? [values[BUILD_VARIABLE]] : []))
  const grouped = (await table.places(null)).map(({ controlGroup }) => memberOf(controlGroup, `${homeId}-builds`))
  const folder = await realpath(making).catch(() => making)
  const ids = new Set([...marked, ...grouped, 'none'])
  await Promise.all(
    [...ids].map(async (id) => {
      if (id === undefined) return
      await endFamily({
        table,
        mark: { [BUILD_VARIABLE]: id, [HOME_VARIABLE]: homeId },
        folder,
        controlGroup: buildGroup(homeId, id),
        leader: null,
        graceMs: 0,
        clock: systemClock,
      })
      await buildGroup(homeId, id)?.remove()
    }),
  )
}
