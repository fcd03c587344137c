/** The second process of `startRival` in `testing.ts`. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { AppMode } from '../domain/states.ts'
import type { Request } from './admissions.ts'
import { openStore } from './store.ts'

const store = await openStore({ home: process.argv[2] as string, workspace: { horizontalScaling: true } })
// Whoever it stands in the way of may be writing at this moment.
const holder = new DatabaseSync(join(process.argv[2] as string, 'inventory.db'), { timeout: 10_000 })
process.on('message', async (message: { request?: Request; create?: string; mode?: AppMode; sql?: string }) => {
  if (message.sql !== undefined) {
    holder.exec(message.sql)
    process.send?.('done')
    return
  }
  const work =
    message.request === undefined
      ? store.apps.create({
          name: message.create as string,
          mode: message.mode ?? 'standard',
          instances: 1,
          creator: 'rival',
        })
      : store.admissions.request(message.request)
  process.send?.(
    await work.then(
      () => 'won',
      (error: { code: string }) => error.code,
    ),
  )
})
process.on('disconnect', () => void store.close())
process.send?.('ready')
