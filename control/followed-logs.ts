/**
 * The logs of several instances, as one follower reads them. Instances come with each deployment and go, so one that is
 * gone is let go once it says nothing any more. What one of them has put in the place of its log is its own affair: a
 * line of that instance says so, and the others are read on.
 */
import type { FollowedLog, InstanceLogs } from './logs.ts'

export type FollowedLogsOptions = {
  logs: Pick<InstanceLogs, 'follow'>
  /** With how many lines of the past each begins. */
  lines: number
  /** ms since some moment; never jumps. */
  elapsed: () => number
  onError: (error: unknown, instance: string) => void
}

/** How long one that is gone is still looked at, in ms: its last words may come a little later. */
const LAST_WORDS_MS = 10_000

type Followed = {
  /** Null until it could be opened. */
  log: FollowedLog | null
  /** Since when each look at it has found nothing; null when the last one found something. */
  silentSince: number | null
  /** That it cannot be read has been told. */
  ails: boolean
}

export class FollowedLogs {
  readonly #options: FollowedLogsOptions
  readonly #followed = new Map<string, Followed>()
  #present: ReadonlySet<string> = new Set()

  constructor(options: FollowedLogsOptions) {
    this.#options = options
  }

  /** Follows these as well. Whoever is not among those of the last call is gone. */
  follow(present: readonly string[]): void {
    this.#present = new Set(present)
    for (const id of present)
      if (!this.#followed.has(id)) this.#followed.set(id, { log: null, silentSince: null, ails: false })
  }

  get ids(): string[] {
    return [...this.#followed.keys()]
  }

  /** What `id` has written since the last call, or as much as one call reads. */
  async more(id: string): Promise<string[]> {
    const followed = this.#followed.get(id)
    if (followed === undefined) return []
    const written = await this.#read(id, followed)
    const now = this.#options.elapsed()
    if (written.length > 0) followed.silentSince = null
    else followed.silentSince ??= now
    const { silentSince } = followed
    if (silentSince !== null && now - silentSince >= LAST_WORDS_MS && !this.#present.has(id)) this.#followed.delete(id)
    return written
  }

  async #read(id: string, followed: Followed): Promise<string[]> {
    const { logs, lines, onError } = this.#options
    try {
      followed.log ??= await logs.follow(id, { lines })
      const written = await followed.log.more()
      followed.ails = false
      return written
    } catch (error) {
      // Once until it can be read again: it is looked at several times a second.
      if (followed.ails) return []
      followed.ails = true
      onError(error, id)
      const { code } = error as NodeJS.ErrnoException
      return [`(its log cannot be read: ${code ?? 'something that is not a file lies in its place'})`]
    }
  }
}
