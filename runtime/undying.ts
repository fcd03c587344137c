/** Processes of a data directory that SIGKILL has reached and that are still there (R13.8). No operation waits for them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { BUILD_VARIABLE } from './builders/command.ts'
import { HOME_VARIABLE, INSTANCE_VARIABLE } from './providers/process/app-environment.ts'
import { memberOf } from './providers/process/control-group.ts'
import { type ProcessTable, systemProcessTable } from './providers/process/process-table.ts'

/** A killed process is doomed for some ms; one that still is after so long waits for something. */
const SECOND_LOOK_MS = 500

export type Undying = { pid: number; of: string }

export async function undying(homeId: string, table: ProcessTable = systemProcessTable()): Promise<Undying[]> {
  const first = new Map((await table.rows()).flatMap((row) => (row.doomed ? [[row.pid, row.startTime]] : [])))
  if (first.size === 0) return []
  await sleep(SECOND_LOOK_MS)
  const owners = await ownersOf(homeId, table)
  return (await table.rows()).flatMap(({ pid, startTime, doomed }) => {
    const of = owners.get(pid)
    return doomed && first.get(pid) === startTime && of !== undefined ? [{ pid, of }] : []
  })
}

async function ownersOf(homeId: string, table: ProcessTable): Promise<Map<number, string>> {
  const owners = new Map<number, string>()
  for (const { pid, controlGroup } of await table.places(null)) {
    const name = memberOf(controlGroup, homeId) ?? memberOf(controlGroup, `${homeId}-builds`)
    if (name !== undefined) owners.set(pid, name)
  }
  for (const variable of [INSTANCE_VARIABLE, BUILD_VARIABLE])
    for (const { pid, values } of await table.tagged([HOME_VARIABLE, variable]))
      if (values[HOME_VARIABLE] === homeId) owners.set(pid, values[variable] as string)
  return owners
}
