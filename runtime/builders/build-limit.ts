import { CoppiceError } from '../../domain/errors.ts'
import type { Clock } from '../clock.ts'
import { LAST_LINES } from './command.ts'
import type { Caller } from './single-flight.ts'

/**
 * Whoever waits for a build, for so long at most: then the build is ended as if it had been cancelled, and BuildFailed
 * says what it was at and what it said last. A command that watches its files has no end of its own, nor has an
 * index that accepts a connection and never answers; both are what the app or the machine has to mend.
 *
 * @returns the caller to build for, and what is to be called when the build has ended.
 */
export function limitBuild(caller: Caller, limitMs: number, clock: Clock): { limited: Caller; end: () => void } {
  const limit = new AbortController()
  const lines: string[] = []
  let at: string | null = null
  const end = clock.after(limitMs, () => {
    const what = `The build did not end within ${inWords(limitMs)} and was given up`
    caller.log(`coppice: ${what}`)
    const message = `${what}${at === null ? '' : `, at: ${at}`}. What a build starts has to end by itself: look for a watch mode ("--watch") or a server in its script, and for a package index that does not answer. COPPICE_BUILD_TIMEOUT_MS of the worker gives it longer.`
    limit.abort(new CoppiceError('BuildFailed', message, { ...(at !== null && { step: at }), logLines: [...lines] }))
  })
  const limited: Caller = {
    signal: AbortSignal.any([caller.signal, limit.signal]),
    log: (line) => {
      lines.push(line)
      if (lines.length > LAST_LINES) lines.shift()
      caller.log(line)
    },
    onProgress: (words) => {
      at = words
      caller.onProgress(words)
    },
  }
  return { limited, end }
}

function inWords(ms: number): string {
  if (ms % 60_000 !== 0) return `${ms / 1_000} s`
  return ms === 60_000 ? 'a minute' : `${ms / 60_000} minutes`
}
