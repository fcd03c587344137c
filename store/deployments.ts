import { type EnvVar, secretsNeeded } from '../domain/app-config.ts'
import { CoppiceError } from '../domain/errors.ts'
import type { HealthCheck } from '../domain/health-check.ts'
import type { App, Deployment } from '../domain/records.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { fromHealth, toDeployment, toOperation } from './rows.ts'

const TRIM_AT_ONCE = 500

export type NewDeployment = {
  id?: string
  sourceCodePath: string | null
  /** Digest of an uploaded source; null when the snapshot is to be taken from `sourceCodePath`. */
  source: string | null
  command: string[] | null
  env: EnvVar[]
  /** What is left out it takes from the app. */
  health: Partial<HealthCheck>
  creator: string
}

export class Deployments {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  async get(id: string): Promise<Deployment | null> {
    const row = await this.#context.db.selectFrom('deployments').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toDeployment(row)
  }

  /** Newest first; `before` is the id of the deployment after which the list goes on. */
  async list(app: string, options: { limit?: number; offset?: number; before?: string } = {}): Promise<Deployment[]> {
    const { before } = options
    let query = this.#context.db
      .selectFrom('deployments')
      .selectAll()
      .where('app', '=', app)
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(options.limit ?? 1000)
      .offset(options.offset ?? 0)
    if (before !== undefined)
      query = query.where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple('created_at', 'id'),
          '<',
          selectFrom('deployments').select(['created_at', 'id']).where('id', '=', before).$asTuple('created_at', 'id'),
        ),
      )
    return (await query.execute()).map(toDeployment)
  }

  /**
   * Lets the artifacts of all but the newest `keep` deployments of each app go; one that runs, or that an open operation
   * is about to run, is never among them.
   *
   * @returns how many.
   */
  letGo(keep: number): Promise<number> {
    return write(this.#context, async (tx) => {
      const rows = await tx
        .selectFrom('deployments')
        .select(['id', 'app'])
        .where('state', '=', 'SUCCEEDED')
        .where('artifact', 'is not', null)
        .orderBy('created_at', 'desc')
        .execute()
      const needed = await neededDeployments(tx)
      const old = [...Map.groupBy(rows, (row) => row.app).values()]
        .flatMap((deployments) => deployments.slice(keep))
        .filter(({ id }) => !needed.has(id))
      for (const { id } of old) {
        await tx.updateTable('deployments').set({ artifact: null }).where('id', '=', id).execute()
        await tx.deleteFrom('pins').where('holder', '=', id).execute()
      }
      return old.length
    })
  }

  /**
   * Removes those that let their artifact go, or never had one, and whose operation was trimmed: the bounds of the
   * operations are theirs, too (R14.4).
   *
   * @returns how many.
   */
  async trim(): Promise<number> {
    let removed = 0
    let going: string[]
    do {
      // In pieces, because whoever else wants to write waits for each.
      going = await write(this.#context, async (tx) => {
        const rows = await tx
          .selectFrom('deployments')
          .select('id')
          .where('artifact', 'is', null)
          .where('operation', 'not in', tx.selectFrom('operations').select('id'))
          .where('id', 'not in', [...(await neededDeployments(tx))])
          .limit(TRIM_AT_ONCE)
          .execute()
        const ids = rows.map(({ id }) => id)
        if (ids.length > 0) await tx.deleteFrom('deployments').where('id', 'in', ids).execute()
        return ids
      })
      removed += going.length
    } while (going.length === TRIM_AT_ONCE)
    return removed
  }

  /** Kept ones of a version that did not write down which secrets they need. */
  async withoutSecrets(): Promise<Array<{ id: string; artifact: string }>> {
    const rows = await this.#context.db
      .selectFrom('deployments')
      .select(['id', 'artifact'])
      .where('secrets', 'is', null)
      .where('artifact', 'is not', null)
      .execute()
    return rows.map(({ id, artifact }) => ({ id, artifact: artifact as string }))
  }

  /** The values, for the start of an instance and nothing else (R3.7). */
  async env(id: string): Promise<EnvVar[]> {
    const row = await this.#context.db.selectFrom('deployments').select('env').where('id', '=', id).executeTakeFirst()
    return row?.env == null ? [] : (JSON.parse(this.#context.seal.open(row.env, sealContext(id))) as EnvVar[])
  }
}

/** Those that an app runs or is about to run, by its own word, its instances' or an open operation's. */
export async function neededDeployments(tx: Db): Promise<Set<string>> {
  const apps = await tx.selectFrom('apps').select(['active_deployment', 'pending_deployment']).execute()
  const instances = await tx.selectFrom('instances').select('deployment').distinct().execute()
  const open = await tx.selectFrom('operations').selectAll().where('ended_at', 'is', null).execute()
  const ids = [
    ...apps.flatMap((app) => [app.active_deployment, app.pending_deployment]),
    ...instances.map(({ deployment }) => deployment),
    ...open.map(toOperation).flatMap(({ deployment, plan, change }) => [
      deployment,
      plan?.deployment ?? null,
      // A rollback that has no plan yet.
      change?.type === 'rollback' ? change.deployment : null,
    ]),
  ]
  return new Set(ids.filter((id) => id !== null))
}

export const sealContext = (deployment: string): string => `deployment/${deployment}/env`

/** @throws CoppiceError AlreadyExists for an id that a deployment has, of this app or another. */
export async function assertNewDeployment(tx: Db, id: string): Promise<void> {
  if ((await tx.selectFrom('deployments').select('id').where('id', '=', id).executeTakeFirst()) !== undefined)
    throw new CoppiceError('AlreadyExists', `There is a deployment ${id} already`, { field: 'deployment_id' })
}

export async function insertDeployment(
  context: StoreContext,
  tx: Db,
  app: App,
  operation: string,
  deployment: NewDeployment,
): Promise<string> {
  const id = deployment.id ?? context.newId().replaceAll('-', '')
  const { last } = await tx
    .selectFrom('deployments')
    .select(({ fn }) => fn.max('created_at').as('last'))
    .where('app', '=', app.name)
    .executeTakeFirstOrThrow()
  // Which one came before is told by this: also where the clock was set back in between (R13.8).
  const now = Math.max(context.now(), Number(last ?? 0) + 1)
  await tx
    .insertInto('deployments')
    .values({
      id,
      app: app.name,
      operation,
      state: 'IN_PROGRESS',
      message: 'The deployment has been requested.',
      source_code_path: deployment.sourceCodePath,
      source: deployment.source,
      artifact: null,
      built_with: null,
      mode: 'SNAPSHOT',
      command: deployment.command === null ? null : JSON.stringify(deployment.command),
      env: deployment.env.length === 0 ? null : context.seal.close(JSON.stringify(deployment.env), sealContext(id)),
      env_names: JSON.stringify(deployment.env.map((variable) => variable.name)),
      // Those of its app.yaml are known when there is a snapshot of it.
      secrets: JSON.stringify(secretsNeeded(deployment.env)),
      ...fromHealth({ ...app.health, ...deployment.health }),
      created_at: now,
      updated_at: now,
      creator: deployment.creator,
    })
    .execute()
  return id
}
