import { sleep } from 'k6'
import exec from 'k6/execution'
import type { ConstantArrivalRateScenario } from 'k6/options'
import { Session } from './session.ts'
import type { Settings } from './settings.ts'
import { SocketUser } from './socket-user.ts'
import { arrivals, isOver, randomOf } from './traffic.ts'

/** A first request, a socket that may be opened again, an upload, a stream. */
const REQUESTS_OF_A_SESSION = 4
/** A socket is held for 6 s, its last echo may take 5. */
const LONGEST_S = 12

export type SocketTraffic = {
  scenario: ConstantArrivalRateScenario
  /** One session. */
  session(): void
}

/**
 * Sessions with a WebSocket each, and an upload and an event stream beside it.
 * @param name of the exported function that calls `session`
 */
export function socketTraffic(settings: Settings, rate: number, name: string): SocketTraffic {
  const kinds =
    settings.keyHeader === '' ? (['browser', 'cookie'] as const) : (['browser', 'cookie', 'header'] as const)
  const upload = 'x'.repeat(settings.uploadBytes)
  let generation = 0
  return {
    scenario: arrivals(settings, { rate, size: REQUESTS_OF_A_SESSION, exec: name, longestS: LONGEST_S }),
    session: () => {
      if (isOver(settings)) return
      const random = randomOf(settings, generation)
      generation += 1
      sleep(random.number() * 0.25)
      const vu = exec.vu.idInTest
      const session = new Session(random.pick(kinds), generation, { settings, random, vu, steady: false })
      const home = session.ask({ method: 'GET' })
      if (home === null) return
      const user = new SocketUser(session, home, settings, random)
      user.open()
      if (settings.uploadBytes > 0) {
        const seen = session.ask({ method: 'POST', body: upload })
        if (seen !== null) user.compare(seen)
      }
      if (settings.ssePath !== null) {
        const seen = session.ask({ method: 'GET', path: settings.ssePath, stream: true })
        if (seen !== null) user.compare(seen)
      }
    },
  }
}
