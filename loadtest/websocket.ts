/**
 * Do WebSockets, event streams and uploads stay with the instance of their session, and come back to its slot when a
 * deployment closes them? The app has to echo what it is sent, and to say who it is (INSTANCE_AT).
 *
 *   k6 run -e APP_URL=https://my-app.example -e WS_PATH=/ws loadtest/websocket.ts
 */
import { settingsFromEnv } from './k6/env.ts'
import { never } from './k6/metrics.ts'
import { socketTraffic } from './k6/socket-traffic.ts'
import { type SummaryData, summarise } from './k6/summary.ts'
import { COMMON_OPTIONS } from './k6/traffic.ts'

const settings = settingsFromEnv()
const sockets = socketTraffic(settings, settings.rate, 'session')

export const options = {
  ...COMMON_OPTIONS,
  scenarios: { session: sockets.scenario },
  thresholds: never(
    'socket_elsewhere',
    'socket_refused',
    'stream_cut',
    'socket_cut',
    'socket_silent',
    'lost_repeatable',
    'key_replaced',
    'old_version_after_new',
  ),
}
export const session = (): void => sockets.session()
export const handleSummary = (data: SummaryData) => summarise(data, settings)
