import { createHash } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { RouteTable } from '../domain/route-table.ts'
import { parseTable } from './table-file.ts'

/** Editors write in several steps; a moment of quiet tells that they are done. */
const SETTLE_MS = 50
/** Not every file system tells of changes. */
const LOOK_EVERY_MS = 2000

/**
 * A table that people keep in a file. The directory is watched, because a file that is replaced by rename takes its
 * watcher with it. A bad file is refused whole; the last good table stays in force.
 */
export class RoutesFile {
  private readonly path: string
  private readonly onTable: (table: RouteTable) => void
  private readonly onProblem: (message: string | null) => void
  private watcher: FSWatcher | null = null
  private poll: NodeJS.Timeout | null = null
  private settling: NodeJS.Timeout | null = null
  private lastDigest = ''

  constructor(path: string, onTable: (table: RouteTable) => void, onProblem: (message: string | null) => void) {
    this.path = path
    this.onTable = onTable
    this.onProblem = onProblem
  }

  async start(): Promise<void> {
    await this.look()
    const name = basename(this.path)
    try {
      this.watcher = watch(dirname(this.path), (_event, changed) => {
        if (changed === null || changed === name) this.soon()
      })
      this.watcher.on('error', () => this.watcher?.close())
    } catch {
      // The poll below finds changes too, only later.
    }
    this.poll = setInterval(() => this.look(), LOOK_EVERY_MS)
  }

  stop(): void {
    this.watcher?.close()
    if (this.poll !== null) clearInterval(this.poll)
    if (this.settling !== null) clearTimeout(this.settling)
  }

  private soon(): void {
    this.settling ??= setTimeout(() => {
      this.settling = null
      void this.look()
    }, SETTLE_MS)
  }

  private async look(): Promise<void> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      this.onProblem(`${this.path} cannot be read: ${(error as Error).message}`)
      this.lastDigest = ''
      return
    }
    const digest = createHash('sha256').update(text).digest('hex')
    if (digest === this.lastDigest) return
    this.lastDigest = digest
    const table = parseTable(text, 'people')
    if ('unusable' in table) {
      this.onProblem(`${this.path} is refused, the last good table stays in force: ${table.unusable}`)
      return
    }
    this.onProblem(null)
    this.onTable(table)
  }
}
