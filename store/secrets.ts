/** Secrets of apps (R3.7): set, named, removed, never read back; opened for the start of an instance alone. */
import { CoppiceError } from '../domain/errors.ts'
import { getApp } from './apps.ts'
import { type Db, parseJson, type StoreContext, write } from './context.ts'
import { neededDeployments, sealContext } from './deployments.ts'
import { addEvent } from './events.ts'
import { beginAnew } from './instances.ts'

export class Secrets {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  /**
   * Takes effect at the next start of an instance. Those that are held back after a crash are started again at once,
   * because this may be what they lacked (R12.9).
   *
   * @throws CoppiceError NotFound
   */
  async set(app: string, name: string, value: string): Promise<void> {
    await write(this.#context, async (tx) => {
      if ((await getApp(tx, app)) === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${app}`)
      const sealed = { value: this.#context.seal.close(value, contextOf(app, name)), updated_at: this.#context.now() }
      await tx
        .insertInto('secrets')
        .values({ app, name, ...sealed })
        .onConflict((conflict) => conflict.columns(['app', 'name']).doUpdateSet(sealed))
        .execute()
      await beginAnew(this.#context, tx, app)
      const message = `Secret ${name} of ${app} was set; instances have it from their next start on`
      await addEvent(this.#context, tx, { app, kind: 'secret', message })
    })
  }

  /**
   * @param force also one that a deployment needs which the app runs, or is about to run.
   * @throws CoppiceError NotFound; SecretInUse
   */
  async remove(app: string, name: string, { force = false } = {}): Promise<void> {
    await write(this.#context, async (tx) => {
      const there = await tx
        .selectFrom('secrets')
        .select('name')
        .where('app', '=', app)
        .where('name', '=', name)
        .executeTakeFirst()
      if (there === undefined) throw new CoppiceError('NotFound', `App ${app} has no secret ${name}`)
      const users = await this.#usersOf(tx, app, name)
      if (users.length > 0 && !force)
        throw new CoppiceError(
          'SecretInUse',
          `Secret ${name} of ${app} is in use: deployment ${users.join(' and ')} takes the value of a variable from it, and no instance of it could be started without it`,
          { secret: name, deployments: users },
        )
      await tx.deleteFrom('secrets').where('app', '=', app).where('name', '=', name).execute()
      const message = `Secret ${name} of ${app} was deleted${users.length > 0 ? ', although it is in use' : ''}`
      await addEvent(this.#context, tx, { app, kind: 'secret', message })
    })
  }

  /**
   * Writes down which secrets a deployment needs: from here on none of them goes without a word.
   *
   * @throws CoppiceError SecretMissing for those that there are not
   */
  async need(app: string, deployment: string, names: readonly string[]): Promise<void> {
    await write(this.#context, async (tx) => {
      const rows = await tx.selectFrom('secrets').select('name').where('app', '=', app).execute()
      const missing = names.filter((name) => !rows.some((row) => row.name === name))
      if (missing.length > 0)
        throw new CoppiceError('SecretMissing', `App ${app} has no secret named ${missing.join(', ')}`, {
          field: 'valueFrom',
        })
      await this.noteIn(tx, deployment, names)
    })
  }

  /** As `need`, for a deployment of an earlier version, whether they are there or not. */
  async note(deployment: string, names: readonly string[]): Promise<void> {
    await write(this.#context, (tx) => this.noteIn(tx, deployment, names))
  }

  async noteIn(tx: Db, deployment: string, names: readonly string[]): Promise<void> {
    await tx
      .updateTable('deployments')
      .set({ secrets: JSON.stringify([...new Set(names)]) })
      .where('id', '=', deployment)
      .execute()
  }

  async #usersOf(tx: Db, app: string, name: string): Promise<string[]> {
    const needed = await neededDeployments(tx)
    const rows = await tx.selectFrom('deployments').select(['id', 'secrets']).where('app', '=', app).execute()
    return rows
      .filter((row) => needed.has(row.id) && parseJson<string[]>(row.secrets)?.includes(name))
      .map(({ id }) => id)
  }

  async list(app: string): Promise<Array<{ name: string; updatedAt: number }>> {
    const rows = await this.#context.db
      .selectFrom('secrets')
      .select(['name', 'updated_at'])
      .where('app', '=', app)
      .orderBy('name')
      .execute()
    return rows.map((row) => ({ name: row.name, updatedAt: row.updated_at }))
  }

  /**
   * Whether what is sealed can be opened with the key that is there, by the first of each kind.
   *
   * @throws CoppiceError SecretKeyLost
   */
  async assertReadable(): Promise<void> {
    const { db, seal } = this.#context
    const secret = await db.selectFrom('secrets').selectAll().limit(1).executeTakeFirst()
    if (secret !== undefined) seal.open(secret.value, contextOf(secret.app, secret.name))
    const env = await db.selectFrom('deployments').select(['id', 'env']).where('env', 'is not', null).executeTakeFirst()
    if (env?.env != null) seal.open(env.env, sealContext(env.id))
  }

  /** The values, for the environment of an instance and nothing else. */
  async values(app: string): Promise<Map<string, string>> {
    const rows = await this.#context.db.selectFrom('secrets').selectAll().where('app', '=', app).execute()
    return new Map(rows.map(({ name, value }) => [name, this.#context.seal.open(value, contextOf(app, name))]))
  }

  /** For a duplicate: the values are sealed anew under the other app's name. */
  async copyIn(tx: Db, from: string, to: string): Promise<void> {
    const rows = await tx.selectFrom('secrets').selectAll().where('app', '=', from).execute()
    for (const { name, value } of rows) {
      const plain = this.#context.seal.open(value, contextOf(from, name))
      await tx
        .insertInto('secrets')
        .values({
          app: to,
          name,
          value: this.#context.seal.close(plain, contextOf(to, name)),
          updated_at: this.#context.now(),
        })
        .execute()
    }
  }
}

const contextOf = (app: string, name: string): string => `secret/${app}/${name}`
