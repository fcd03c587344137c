import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROUTE_TABLE_FILE } from '../domain/product.ts'
import { type RouteTable, routeTableSchema } from '../domain/route-table.ts'
import { replaceFile } from './durable-file.ts'

/** The last table, on disk: what a router serves that starts while nobody can tell it anything (R12.3). */
export class TableFile {
  private readonly path: string
  private writing: Promise<void> = Promise.resolve()

  constructor(stateDir: string) {
    this.path = join(stateDir, ROUTE_TABLE_FILE)
  }

  /** @returns the stored table; null if there is none, or a reason if what is there cannot be used */
  async read(): Promise<RouteTable | null | Unusable> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      return code === 'ENOENT' ? null : { unusable: message, version: null }
    }
    return parseTable(text, 'program')
  }

  /** Resolves when the table would survive a loss of power. One after the other, in the order of the calls. */
  write(table: RouteTable): Promise<void> {
    const text = `${JSON.stringify(table)}\n`
    this.writing = this.writing.catch(() => undefined).then(() => replaceFile(this.path, text))
    return this.writing
  }
}

/** `version`: of the table that is refused, as far as it says one. */
export type Unusable = { unusable: string; version: number | null }

/**
 * A table is taken whole or refused whole.
 * @param by `people` get an error for a field that does not exist, as for any other slip; of a program it is one that
 *   only a newer router knows (D32)
 */
export function parseTable(text: string, by: 'people' | 'program'): RouteTable | Unusable {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return { unusable: `not JSON: ${(error as Error).message}`, version: null }
  }
  const parsed = routeTableSchema.safeParse(json)
  if (parsed.success) {
    const unknown = by === 'people' ? unknownField(json, parsed.data, '') : null
    return unknown === null ? parsed.data : { unusable: `${unknown}: is not a known field`, version: null }
  }
  const version = (json as { version?: unknown } | null)?.version
  const issue = parsed.error.issues[0]
  return {
    unusable: `${issue?.path.join('.') || 'the table'}: ${issue?.message}`,
    version: Number.isSafeInteger(version) && (version as number) >= 0 ? (version as number) : null,
  }
}

/** The path of the first field that parsing has left out. */
function unknownField(given: unknown, parsed: unknown, path: string): string | null {
  if (typeof given !== 'object' || given === null) return null
  for (const [name, value] of Object.entries(given)) {
    const here = path === '' ? name : `${path}.${name}`
    if (!Object.hasOwn(parsed as object, name)) return here
    const within = unknownField(value, (parsed as Record<string, unknown>)[name], here)
    if (within !== null) return within
  }
  return null
}
