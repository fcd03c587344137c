/** Who needs which artifact, layer or source (DESIGN D6): operations while they run, deployments while they are kept. */
import type { StoreContext } from './context.ts'

export class Pins {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  async pin(key: string, holder: string): Promise<void> {
    await this.#context.db
      .insertInto('pins')
      .values({ key, holder })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  async unpin(holder: string): Promise<void> {
    await this.#context.db.deleteFrom('pins').where('holder', '=', holder).execute()
  }

  async isPinned(key: string): Promise<boolean> {
    const row = await this.#context.db.selectFrom('pins').select('key').where('key', '=', key).executeTakeFirst()
    return row !== undefined
  }
}
