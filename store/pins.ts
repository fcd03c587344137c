/** Who needs which artifact, layer or source (DESIGN D6): operations while they run, deployments while they are kept. */
import { type StoreContext, write } from './context.ts'

export class Pins {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  async pin(key: string, holder: string): Promise<void> {
    await write(this.#context, (tx) =>
      tx
        .insertInto('pins')
        .values({ key, holder })
        .onConflict((conflict) => conflict.doNothing())
        .execute(),
    )
  }

  async unpin(holder: string): Promise<void> {
    await write(this.#context, (tx) => tx.deleteFrom('pins').where('holder', '=', holder).execute())
  }

  /**
   * Lets go what nobody holds any more: pins of operations that have ended, which an activity that outlived its
   * workflow may have added late, and of deployments that are gone.
   */
  async dropOrphans(): Promise<void> {
    await write(this.#context, (tx) =>
      tx
        .deleteFrom('pins')
        .where('holder', 'not in', tx.selectFrom('deployments').select('id').where('artifact', 'is not', null))
        .where('holder', 'not in', tx.selectFrom('operations').select('id').where('ended_at', 'is', null))
        .execute(),
    )
  }

  async isPinned(key: string): Promise<boolean> {
    const row = await this.#context.db.selectFrom('pins').select('key').where('key', '=', key).executeTakeFirst()
    return row !== undefined
  }
}
