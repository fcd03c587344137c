/** The scenarios: which script, on how many instances, what happens meanwhile. */
import type { Actions } from './runner/actions.ts'

export type Scenario = {
  words: string
  /** The k6 script of the same name proves these, whatever else the checks find. */
  rules: string[]
  instances: number | 'standard'
  quick: Load
  full: Load
  /** The rule behind a lost request here, where it is a finer one than R1.2. */
  lossRule?: string
  /** How long a user may be silent although it has not ended, ms; default 1.5 s. */
  quietMs?: number
  /** Settings of the script (k6/settings.ts). */
  env?: Record<string, string>
  /** Likewise, where the app is ours: of another one we ask no more than it was said to take. */
  ownEnv?: Record<string, string>
  timeline(act: Actions, load: Load): Promise<void>
}

export type Load = {
  /** Requests a second. */
  rate: number
  durationMs: number
}

/**
 * As often as there is time for, so that a long run is more than a short one and a long silence; once at least.
 * @param mostMs how long one round takes
 * @param round is given 1, 2, …
 */
async function repeatedly(load: Load, mostMs: number, round: (number: number) => Promise<void>): Promise<void> {
  const last = Date.now() + load.durationMs - mostMs
  for (let number = 1; number === 1 || Date.now() < last; number++) await round(number)
}

/** Requests that are to be answered before something happens, so that sessions are there to be moved. */
const WARM = 150

export const SCENARIOS: Record<string, Scenario> = {
  affinity: {
    words: 'every client stays with its instance, whichever router it asks',
    rules: ['R1.1', 'R7.1', 'R7.2', 'R7.4', 'R8.1'],
    instances: 3,
    quick: { rate: 80, durationMs: 10_000 },
    full: { rate: 200, durationMs: 60_000 },
    timeline: async () => {},
  },
  failover: {
    words:
      'an instance is killed, another one is stopped, a third is only busy: nothing is lost, moved or repeated that need not be',
    rules: ['R1.2', 'R12.1', 'R12.2'],
    instances: 3,
    quick: { rate: 60, durationMs: 10_000 },
    full: { rate: 150, durationMs: 90_000 },
    lossRule: 'R12.1, R12.2',
    timeline: async (act, load) => {
      await act.warm(WARM)
      await repeatedly(load, 40_000, async () => {
        await act.kill()
        await act.pause(500, 1500)
        await act.hang(6_000)
        await act.pause(500, 1500)
        await act.busy(6_000)
      })
    },
  },
  reassignment: {
    words: 'when an instance is lost, leaves or joins, or sessions are rebalanced, only those move that must',
    rules: ['R8.1', 'R8.2', 'R8.3'],
    instances: 4,
    quick: { rate: 80, durationMs: 10_000 },
    full: { rate: 150, durationMs: 90_000 },
    lossRule: 'R12.1',
    // A rebalance must leave those alone who begin after it: of some fifty of them a fault in that moves about seven.
    env: { NEWCOMERS: '0.5', CLIENTS: 'browser:7,cookie:2,header:1' },
    timeline: async (act) => {
      await act.warm(WARM)
      // Three times in a row: long enough away for most of its sessions to have to move.
      await act.kill(3)
      // Sessions that came back to where they were would show now.
      await act.pause(2_000, 3_000)
      await act.rebalance()
      await act.pause(3_000, 4_000)
      await act.scale(5, 'resize to 5')
      await act.pause(1_000, 2_000)
      await act.scale(4, 'resize to 4')
      await act.pause(1_000, 2_000)
      await act.countRebalanced()
    },
  },
  deploy: {
    words: 'a deployment under load costs no request, and one that fails changes nothing',
    rules: ['R3.3', 'R3.4', 'R6.2', 'R8.2'],
    instances: 2,
    quick: { rate: 60, durationMs: 10_000 },
    full: { rate: 150, durationMs: 90_000 },
    lossRule: 'R3.4',
    // That an instance was stopped too early is shown only by what cannot be repeated and is in flight: which outlasts, also
    // on a busy machine, the way from the new table to the end of the old instances.
    ownEnv: { METHODS: 'GET,GET,PUT,POST,POST,POST', SLOW_SHARE: '0.4', SLOW_MS: '800-1600' },
    quietMs: 3_000,
    timeline: async (act, load) => {
      await act.warm(WARM)
      await repeatedly(load, 10_000, async (round) => {
        await act.deploy(`${2 * round}`)
        await act.pause(500, 1500)
        await act.deploy(`${2 * round + 1}`, 'broken')
        await act.pause(500, 1500)
      })
    },
  },
  websocket: {
    words: 'WebSockets, streams and uploads stay with their session, through a deployment too',
    rules: ['R7.3', 'R6.2', 'R8.2'],
    instances: 3,
    quick: { rate: 24, durationMs: 8_000 },
    full: { rate: 60, durationMs: 60_000 },
    lossRule: 'R3.4',
    // A socket is held for 6 s, and its echoes leave no line.
    quietMs: 6_500,
    timeline: async (act) => {
      await act.warm(60)
      await act.deploy('2')
    },
  },
  resize: {
    words: 'more instances, then fewer: no request fails, and only those move that must',
    rules: ['R6.1', 'R6.2', 'R8.2'],
    instances: 1,
    quick: { rate: 60, durationMs: 10_000 },
    full: { rate: 150, durationMs: 90_000 },
    lossRule: 'R6.1',
    timeline: async (act) => {
      await act.warm(WARM)
      await act.scale(5, 'resize to 5')
      await act.pause(1_000, 2_000)
      await act.scale(2, 'resize to 2')
      await act.pause(500, 1_500)
    },
  },
  convert: {
    words: 'a standard app becomes a scaled one, and a standard one again, and nobody notices',
    rules: ['R5.1', 'R5.2', 'R5.3'],
    instances: 'standard',
    quick: { rate: 60, durationMs: 10_000 },
    full: { rate: 150, durationMs: 90_000 },
    lossRule: 'R5.1',
    timeline: async (act) => {
      await act.warm(WARM)
      if (!(await act.survivesConversion())) return
      if (await act.isScaled()) await act.scale(null, 'conversion to a standard app, to begin with one')
      await act.scale(1, 'conversion to a scaled app')
      await act.pause(500, 1_500)
      await act.scale(3, 'resize to 3')
      await act.pause(500, 1_500)
      await act.scale(null, 'conversion back to a standard app')
      await act.pause(500, 1_500)
    },
  },
  soak: {
    words: 'everything at once, in an order drawn from the seed, and nothing is left behind',
    rules: ['R1.2', 'R3.4', 'R6.1', 'R8.2', 'R10.2', 'R12.1', 'R12.2'],
    instances: 3,
    quick: { rate: 60, durationMs: 25_000 },
    full: { rate: 300, durationMs: 20 * 60_000 },
    lossRule: 'R12.1, R12.2',
    quietMs: 6_500,
    timeline: async (act, { durationMs }) => {
      await act.warm(WARM)
      const begin = Date.now()
      const end = begin + durationMs
      // The routers' heaps grow for some minutes before they stay: 110 MB a process at the begin, 250 MB from the fourth
      // minute at 300 requests a second on, in the 18th too.
      const settledAt = durationMs < 60_000 ? begin : begin + Math.min(durationMs / 3, 300_000)
      let measured = false
      for (let version = 2; Date.now() < end; version++) {
        if (!measured && Date.now() >= settledAt) {
          measured = true
          await act.measure()
        }
        switch (act.random.whole(1, 8)) {
          case 1:
          case 2:
            await act.kill(act.random.whole(1, 2))
            break
          case 3:
            await act.hang(act.random.whole(4_000, 7_000))
            break
          case 4:
            await act.deploy(String(version))
            break
          case 5:
            await act.deploy(String(version), 'broken')
            break
          case 6:
            await act.restart()
            break
          case 7: {
            const instances = act.random.whole(3, 5)
            await act.scale(instances, `resize to ${instances}`)
            break
          }
          case 8:
            await act.busy(act.random.whole(2_000, 6_000))
            break
        }
        // A fault each 10 s or so.
        await act.pause(durationMs < 60_000 ? 500 : 3_000, durationMs < 60_000 ? 1_000 : 9_000)
      }
    },
  },
}
