import { readFile } from 'node:fs/promises'
import { createParser } from 'eventsource-parser'
import type { Logger } from 'pino'
import {
  type ReportAnswer,
  type RouterReport,
  type RouteTable,
  reportAnswerSchema,
  type TableId,
  tableIdSchema,
} from '../domain/route-table.ts'
import { parseTable } from './table-file.ts'

/** What one that signs off says of what it carries. */
const NOTHING_LEFT = { inFlight: {}, longLived: {}, sessions: {}, sessionRanks: {}, down: [], silent: [] }

/** Comments come at least every 2 s; a stream that says nothing for so long is dead. */
const STREAM_SILENCE_MS = 6000
/** Signs of life in a stream, and no part of a table. */
const ONLY_COMMENTS = /^(?::[^\n]*\n+)+$/
const REPORT_EVERY_MS = 2000
const REPORT_TIMEOUT_MS = 2000
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000

export type ControlLinkParts = {
  /** Base URL of the control plane, without a slash at its end. */
  url: string
  tokenFile: string
  name: string
  log: Logger
  fetch: typeof fetch
  onTable(table: RouteTable): void
  onRefused(refused: NonNullable<RouterReport['refused']>): void
  /** All routers hold this table, or have been waited for; null when the stream ends, and with it all words. */
  onWord(word: TableId | null): void
  report(): RouterReport
  /** There is a table on its disk, with which it begins its next life. */
  keepsTable(): boolean
}

/**
 * The router's side of D7: takes tables from the stream, tells what is applied and that it lives, and never lets
 * anything that the control plane does or fails to do come near the traffic.
 */
export class ControlLink {
  private readonly parts: ControlLinkParts
  private stopped = false
  private stream: AbortController | null = null
  private reportTimer: NodeJS.Timeout | null = null
  private reporting: Promise<void> | null = null
  private reportAgain = false
  private lastCounted = Number.NEGATIVE_INFINITY
  private leaseMs = 10_000
  private everCounted = false
  private streaming = false
  private heardWord = false
  /** When a piece of a table last came, or the stream began. */
  private progressAt = 0

  constructor(parts: ControlLinkParts) {
    this.parts = parts
  }

  start(): void {
    void this.follow()
    this.reportTimer = setInterval(() => this.reportNow(), REPORT_EVERY_MS)
  }

  /** Was in the acknowledgement set at least once since its start. */
  get synchronised(): boolean {
    return this.everCounted
  }

  /** The stream of tables is open: what it says is what the control plane knows. */
  get connected(): boolean {
    return this.streaming
  }

  /** Behind each table its word comes; a control plane of before that gives none. */
  get givesWord(): boolean {
    return this.heardWord
  }

  /** Its lease has run out: what it serves may be older than what is published (R12.10). */
  get stale(): boolean {
    return performance.now() - this.lastCounted > this.leaseMs
  }

  /**
   * Leaves the acknowledgement set at once, so that nobody waits for this router. What it leaves behind is known to the
   * control plane by its table on the disk: no address in that is given to others before it is back (D7).
   */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.reportTimer !== null) clearInterval(this.reportTimer)
    this.stream?.abort()
    // One that arrived behind the last word would make it count again.
    await this.reporting
    try {
      if (this.parts.keepsTable()) await this.post({ ...this.parts.report(), ...NOTHING_LEFT, leaving: true })
      else await this.call(`/routers/${encodeURIComponent(this.parts.name)}`, { method: 'DELETE' })
    } catch (error) {
      this.parts.log.warn(`could not sign off from the control plane: ${(error as Error).message}`)
    }
  }

  private async call(path: string, init: RequestInit): Promise<Response> {
    // Read each time: a token that is rotated is found without a restart.
    const token = (await readFile(this.parts.tokenFile, 'utf8')).trim()
    return this.parts.fetch(`${this.parts.url}/api/coppice/v1${path}`, {
      signal: AbortSignal.timeout(REPORT_TIMEOUT_MS),
      ...init,
      headers: { authorization: `Bearer ${token}`, ...init.headers },
    })
  }

  // ---- tables ----

  private async follow(): Promise<void> {
    let pause = FIRST_PAUSE_MS
    while (!this.stopped) {
      const outcome = await this.listen()
      if (this.stopped) return
      if (outcome === 'heard') pause = FIRST_PAUSE_MS
      await new Promise((resolve) => setTimeout(resolve, pause))
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
    }
  }

  /** One connection of the stream, until it ends. */
  private async listen(): Promise<'heard' | 'nothing'> {
    const abort = new AbortController()
    this.stream = abort
    this.progressAt = performance.now()
    let heard: 'heard' | 'nothing' = 'nothing'
    let silence = setTimeout(() => abort.abort(), STREAM_SILENCE_MS)
    const parser = createParser({
      maxBufferSize: 256 * 1024 * 1024,
      onEvent: (event) => {
        if (event.event === 'table') this.take(event.data)
        if (event.event === 'apply') {
          this.heardWord = true
          this.parts.onWord(tableIdSchema.parse(JSON.parse(event.data)))
        }
      },
    })
    try {
      const path = `/routes/stream?router=${encodeURIComponent(this.parts.name)}`
      const answer = await this.call(path, { signal: abort.signal, headers: { accept: 'text/event-stream' } })
      if (!answer.ok || answer.body === null) throw new Error(`the control plane answered ${answer.status}`)
      const text = new TextDecoder()
      for await (const chunk of answer.body) {
        heard = 'heard'
        this.streaming = true
        clearTimeout(silence)
        silence = setTimeout(() => abort.abort(), STREAM_SILENCE_MS)
        const piece = text.decode(chunk, { stream: true })
        if (!ONLY_COMMENTS.test(piece)) this.progressAt = performance.now()
        parser.feed(piece)
      }
    } catch (error) {
      if (!this.stopped) this.parts.log.warn(`route stream: ${causeOf(error)}`)
    } finally {
      this.streaming = false
      this.heardWord = false
      this.parts.onWord(null)
      clearTimeout(silence)
      abort.abort()
    }
    return heard
  }

  private take(data: string): void {
    const table = parseTable(data, 'program')
    if ('unusable' in table) this.parts.onRefused({ version: table.version, reason: table.unusable })
    else this.parts.onTable(table)
  }

  // ---- reports ----

  /** One report at a time; what happens meanwhile is told by one more right after it. */
  reportNow(): void {
    if (this.stopped) return
    if (this.reporting !== null) {
      this.reportAgain = true
      return
    }
    this.reportAgain = false
    this.reporting = this.send().finally(() => {
      this.reporting = null
      if (this.reportAgain) this.reportNow()
    })
  }

  private async post(report: RouterReport): Promise<ReportAnswer> {
    const answer = await this.call('/routers/report', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(report),
    })
    if (!answer.ok) throw new Error(`the control plane answered ${answer.status}`)
    return reportAnswerSchema.parse(await answer.json())
  }

  private async send(): Promise<void> {
    const sentAt = performance.now()
    const report = this.parts.report()
    try {
      const told = await this.post(report)
      if (told.counted) {
        // The lease began at the latest when the report was sent.
        this.lastCounted = sentAt
        this.leaseMs = told.leaseMs
        this.everCounted = true
      } else {
        this.synchronise(report, told)
      }
    } catch (error) {
      if (!this.stopped) this.parts.log.warn(`report: ${causeOf(error)}`)
    }
  }

  /**
   * Not counted: the table at hand is not the current one. That is on its way in the stream, on a slow line for minutes;
   * only where nothing of it comes does a new stream, which begins with the current table, get further.
   */
  private synchronise(report: RouterReport, told: ReportAnswer): void {
    const behind = report.inventory !== told.inventory || report.version < told.version
    // It would come again, and be refused again.
    if (behind && report.refused !== null && (report.refused.version ?? told.version) >= told.version) return
    this.parts.log.info({ have: report.version, current: told.version }, 'not counted, synchronises')
    if (!behind) setTimeout(() => this.reportNow(), FIRST_PAUSE_MS)
    else if (performance.now() - this.progressAt > STREAM_SILENCE_MS) this.stream?.abort()
  }
}

function causeOf(error: unknown): string {
  const cause = (error as { cause?: Error }).cause
  return `${(error as Error).message}${cause instanceof Error ? `: ${cause.message}` : ''}`
}
