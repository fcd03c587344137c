/** Secrets of apps (R3.7): set, named, removed, never read back; opened for the start of an instance alone. */
import { CoppiceError } from '../domain/errors.ts'
import { getApp } from './apps.ts'
import { type Db, type StoreContext, write } from './context.ts'

export class Secrets {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  /** Takes effect at the next start of an instance. @throws CoppiceError NotFound */
  async set(app: string, name: string, value: string): Promise<void> {
    await write(this.#context, async (tx) => {
      if ((await getApp(tx, app)) === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${app}`)
      const sealed = { value: this.#context.seal.close(value, contextOf(app, name)), updated_at: this.#context.now() }
      await tx
        .insertInto('secrets')
        .values({ app, name, ...sealed })
        .onConflict((conflict) => conflict.columns(['app', 'name']).doUpdateSet(sealed))
        .execute()
    })
  }

  /** @returns whether there was one. */
  async remove(app: string, name: string): Promise<boolean> {
    const result = await write(this.#context, (tx) =>
      tx.deleteFrom('secrets').where('app', '=', app).where('name', '=', name).executeTakeFirst(),
    )
    return result.numDeletedRows > 0n
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
