/** API tokens beside the one in the data directory: named, with a role, kept as digests only. */
import { createHash, randomBytes } from 'node:crypto'
import { CoppiceError } from '../domain/errors.ts'
import type { Role } from '../domain/records.ts'
import { type StoreContext, write } from './context.ts'

export type Token = { name: string; role: Role; createdAt: number; createdBy: string }

export class Tokens {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  /**
   * @returns the token itself, which nobody can read again.
   * @throws CoppiceError AlreadyExists
   */
  create({ name, role, createdBy }: Omit<Token, 'createdAt'>): Promise<Token & { token: string }> {
    return write(this.#context, async (tx) => {
      const taken = await tx.selectFrom('tokens').select('name').where('name', '=', name).executeTakeFirst()
      if (taken !== undefined) throw new CoppiceError('AlreadyExists', `There is a token named ${name} already`)
      const token = `coppice_${randomBytes(32).toString('base64url')}`
      const createdAt = this.#context.now()
      await tx
        .insertInto('tokens')
        .values({ name, role, digest: digestOf(token), created_at: createdAt, created_by: createdBy })
        .execute()
      return { name, role, createdAt, createdBy, token }
    })
  }

  /** Whose token this is; null for nobody's. */
  async holder(token: string): Promise<Pick<Token, 'name' | 'role'> | null> {
    const row = await this.#context.db
      .selectFrom('tokens')
      .select(['name', 'role'])
      .where('digest', '=', digestOf(token))
      .executeTakeFirst()
    return row === undefined ? null : { name: row.name, role: row.role as Role }
  }

  async list(): Promise<Token[]> {
    const rows = await this.#context.db.selectFrom('tokens').selectAll().orderBy('name').execute()
    return rows.map((row) => ({
      name: row.name,
      role: row.role as Role,
      createdAt: row.created_at,
      createdBy: row.created_by,
    }))
  }

  /** @returns whether there was one. */
  async remove(name: string): Promise<boolean> {
    const { numDeletedRows } = await write(this.#context, (tx) =>
      tx.deleteFrom('tokens').where('name', '=', name).executeTakeFirst(),
    )
    return numDeletedRows > 0n
  }
}

/** No salt and no stretching: a token has 256 random bits, so there is nothing to guess. */
const digestOf = (token: string): string => createHash('sha256').update(token).digest('hex')
