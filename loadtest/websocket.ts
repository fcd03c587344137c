/**
 * Do WebSockets, event streams and uploads stay with the instance of their session, and come back to its slot when a
 * deployment closes them? The app has to echo what it is sent, and to say who it is (INSTANCE_AT).
 *
 *   k6 run -e APP_URL=https://my-app.example -e WS_PATH=/ws loadtest/websocket.ts
 */

import { sleep } from 'k6'
import exec from 'k6/execution'
import { settingsFromEnv } from './k6/env.ts'
import { never } from './k6/metrics.ts'
import { Session } from './k6/session.ts'
import { SocketUser } from './k6/socket-user.ts'
import { type SummaryData, summarise } from './k6/summary.ts'
import { arrivals, COMMON_OPTIONS, isOver, randomOf } from './k6/traffic.ts'

const settings = settingsFromEnv()
/** A first request, a socket with some reopenings, an upload, a stream. */
const REQUESTS_OF_A_SESSION = 4

export const options = {
  ...COMMON_OPTIONS,
  scenarios: {
    session: arrivals(settings, { rate: settings.rate, size: REQUESTS_OF_A_SESSION, exec: 'session', longestS: 12 }),
  },
  thresholds: never(
    'socket_elsewhere',
    'socket_refused',
    'socket_cut',
    'socket_silent',
    'lost_repeatable',
    'key_replaced',
    'old_version_after_new',
  ),
}

const upload = 'x'.repeat(settings.uploadBytes)
let generation = 0

export function session(): void {
  if (isOver(settings)) return
  const random = randomOf(settings, generation)
  sleep(random.number() * 0.25)
  generation += 1
  const kinds =
    settings.keyHeader === '' ? (['browser', 'cookie'] as const) : (['browser', 'cookie', 'header'] as const)
  const vu = exec.vu.idInTest
  const one = new Session(random.pick(kinds), generation, { settings, random, vu, steady: false })
  const home = one.ask({ method: 'GET' })
  if (home === null) return
  const user = new SocketUser(one, home, settings, random)
  user.open()
  if (settings.uploadBytes > 0) {
    const seen = one.ask({ method: 'POST', body: upload })
    if (seen !== null) user.compare(seen)
  }
  if (settings.ssePath !== null) {
    const seen = one.ask({ method: 'GET', path: settings.ssePath })
    if (seen !== null) user.compare(seen)
  }
}

export const handleSummary = (data: SummaryData) => summarise(data, settings)
