/** A copy of an app to try things on (R5.5): its configuration and what it runs, under a new name. One transaction. */
import { CoppiceError } from '../domain/errors.ts'
import type { App } from '../domain/records.ts'
import { type Apps, getApp } from './apps.ts'
import { type StoreContext, write } from './context.ts'
import { sealContext } from './deployments.ts'
import { addEvent } from './events.ts'
import type { Secrets } from './secrets.ts'

export type Duplicate = {
  from: string
  name: string
  /** Secrets go along only by choice; without them a deployment that needs them cannot start. */
  withSecrets: boolean
  creator: string
}

/**
 * The copy is stopped and has the running deployment of the other as its own, with the same artifact: starting it
 * builds nothing. A scaled app's copy takes a place.
 *
 * @throws CoppiceError NotFound, AlreadyExists, PreviewDisabled, LimitExceeded
 */
export async function duplicateApp(
  context: StoreContext,
  parts: { apps: Apps; secrets: Secrets },
  { from, name, withSecrets, creator }: Duplicate,
): Promise<App> {
  const port = await parts.apps.offerPort()
  return write(context, async (tx) => {
    const source = await getApp(tx, from)
    if (source === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${from}`)
    await parts.apps.createIn(tx, { ...source, name, creator, desired: 'stopped', port })
    if (withSecrets) await parts.secrets.copyIn(tx, from, name)
    if (source.activeDeployment !== null) {
      const id = context.newId().replaceAll('-', '')
      const row = await tx
        .selectFrom('deployments')
        .selectAll()
        .where('id', '=', source.activeDeployment)
        .executeTakeFirstOrThrow()
      const env =
        row.env === null ? null : context.seal.close(context.seal.open(row.env, sealContext(row.id)), sealContext(id))
      await tx
        .insertInto('deployments')
        .values({ ...row, id, app: name, operation: `duplicate of ${from}`, env, creator, created_at: context.now() })
        .execute()
      const pins = await tx.selectFrom('pins').select('key').where('holder', '=', row.id).execute()
      for (const { key } of pins) await tx.insertInto('pins').values({ key, holder: id }).execute()
      await tx.updateTable('apps').set({ active_deployment: id }).where('name', '=', name).execute()
    }
    await addEvent(context, tx, { app: name, kind: 'app', message: `App ${name} was made as a duplicate of ${from}` })
    return (await getApp(tx, name)) as App
  })
}
