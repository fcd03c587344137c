/** Whoever waits for a build: how it is told to stop, and where it wants to be told. */
export type Caller = {
  signal: AbortSignal
  log: (line: string) => void
  onProgress: (words: string) => void
}

type Flight = {
  callers: Set<Caller>
  controller: AbortController
  /** What was said so far, for those who join late. */
  said: Array<(caller: Caller) => void>
  result: Promise<unknown>
}

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
    const flight: Flight = { callers: new Set(), controller, said: [], result: Promise.resolve() }
    const say = (what: (caller: Caller) => void) => {
      flight.said.push(what)
      for (const caller of flight.callers) what(caller)
    }
    flights.set(key, flight)
    flight.result = (async () => {
      // Not before the first caller has joined and can hear.
      await Promise.resolve()
      try {
        return await work({
          signal: controller.signal,
          log: (line) => say((caller) => caller.log(line)),
          onProgress: (words) => say((caller) => caller.onProgress(words)),
        })
      } finally {
        flights.delete(key)
      }
    })()
    return flight
  }

  async function joinFlight(flight: Flight, caller: Caller): Promise<unknown> {
    flight.callers.add(caller)
    for (const what of flight.said) what(caller)
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
