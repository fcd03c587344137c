import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type RouteTable, routeTableSchema } from '../domain/route-table.ts'

/** The last table, on disk: what a router serves that starts while nobody can tell it anything (R12.3). */
export class TableFile {
  private readonly dir: string
  private readonly path: string
  private writing: Promise<void> = Promise.resolve()

  constructor(stateDir: string) {
    this.dir = stateDir
    this.path = join(stateDir, 'routes.json')
  }

  /** @returns the stored table; null if there is none, or a reason if what is there cannot be used */
  async read(): Promise<RouteTable | null | { unusable: string }> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : { unusable: (error as Error).message }
    }
    return parseTable(text)
  }

  /** Resolves when the table would survive a loss of power: written, synced, renamed, the directory synced. */
  write(table: RouteTable): Promise<void> {
    const text = `${JSON.stringify(table)}\n`
    this.writing = this.writing.catch(() => undefined).then(() => this.replace(text))
    return this.writing
  }

  private async replace(text: string): Promise<void> {
    await mkdir(this.dir, { recursive: true })
    const temporary = `${this.path}.new`
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(text)
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(temporary, this.path)
    const dir = await open(this.dir, 'r')
    try {
      await dir.datasync()
    } finally {
      await dir.close()
    }
  }
}

/** A table is taken whole or refused whole. */
export function parseTable(text: string): RouteTable | { unusable: string } {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return { unusable: `not JSON: ${(error as Error).message}` }
  }
  const parsed = routeTableSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  return { unusable: `${issue?.path.join('.') || 'the table'}: ${issue?.message}` }
}
