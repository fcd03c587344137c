/** Whoever waits for a build: how it is told to stop, and where it wants to be told. */
export type Caller = {
  signal: AbortSignal
  log: (line: string) => void
  onProgress: (words: string) => void
}

type Flight = {
  callers: Set<Caller>
  controller: AbortController
  said: Said
  result: Promise<unknown>
}

/** What those who join late are told: as much as people look at, so that work that says much takes no memory. */
const MAX_SAID = 1_000
const MAX_SAID_CHARS = 256 * 1024

/** What was said so far: the last lines and how many came before them, and the last words of progress. */
type Said = { lines: string[]; chars: number; leftOut: number; progress: string | null }

export type SingleFlight = ReturnType<typeof createSingleFlight>

/**
 * Work that several callers want at the same time is done once. All of them hear what is said about it. It is aborted
 * when the last of them has aborted; that one waits until it has ended, so that nothing is left behind.
 */
export function createSingleFlight() {
  const flights = new Map<string, Flight>()

  return async function share<T>(key: string, caller: Caller, work: (job: Caller) => Promise<T>): Promise<T> {
    caller.signal.throwIfAborted()
    let flight = flights.get(key)
    while (flight?.controller.signal.aborted) {
      await flight.result.catch(() => undefined)
      flight = flights.get(key)
    }
    caller.signal.throwIfAborted()
    flight ??= begin(key, work)
    return joinFlight(flight, caller) as Promise<T>
  }

  function begin(key: string, work: (job: Caller) => Promise<unknown>): Flight {
    const controller = new AbortController()
    const flight: Flight = {
      callers: new Set(),
      controller,
      said: { lines: [], chars: 0, leftOut: 0, progress: null },
      result: Promise.resolve(),
    }
    flights.set(key, flight)
    flight.result = (async () => {
      // Not before the first caller has joined and can hear.
      await Promise.resolve()
      try {
        return await work({
          signal: controller.signal,
          log: (line) => {
            remember(flight.said, line)
            for (const caller of flight.callers) caller.log(line)
          },
          onProgress: (words) => {
            flight.said.progress = words
            for (const caller of flight.callers) caller.onProgress(words)
          },
        })
      } finally {
        flights.delete(key)
      }
    })()
    return flight
  }

  async function joinFlight(flight: Flight, caller: Caller): Promise<unknown> {
    flight.callers.add(caller)
    const { lines, leftOut, progress } = flight.said
    if (progress !== null) caller.onProgress(progress)
    if (leftOut > 0) caller.log(`coppice: ${leftOut} earlier lines are left out here`)
    for (const line of lines) caller.log(line)
    const left = Promise.withResolvers<never>()
    const leave = () => {
      flight.callers.delete(caller)
      if (flight.callers.size > 0) return left.reject(caller.signal.reason)
      flight.controller.abort(caller.signal.reason)
    }
    caller.signal.addEventListener('abort', leave, { once: true })
    try {
      return await Promise.race([flight.result, left.promise])
    } finally {
      caller.signal.removeEventListener('abort', leave)
      flight.callers.delete(caller)
    }
  }
}

function remember(said: Said, line: string): void {
  said.lines.push(line)
  said.chars += line.length
  while (said.lines.length > MAX_SAID || said.chars > MAX_SAID_CHARS) {
    said.chars -= said.lines.shift()?.length ?? 0
    said.leftOut += 1
  }
}
