/**
 * All kinds of users at once, for as long as it is told; the runner kills, hangs, deploys, restarts and resizes
 * meanwhile, in an order drawn from the seed.
 *
 *   k6 run -e APP_URL=https://my-app.example -e DURATION=20m loadtest/soak.ts
 */
import { settingsFromEnv } from './k6/env.ts'
import { socketTraffic } from './k6/socket-traffic.ts'
import { type SummaryData, summarise } from './k6/summary.ts'
import { httpTraffic } from './k6/traffic.ts'

const settings = settingsFromEnv()
const SOCKETS_SHARE = 0.1
const traffic = httpTraffic(
  { ...settings, rate: settings.rate * (1 - SOCKETS_SHARE) },
  ['lost_repeatable', 'refused', 'key_replaced', 'old_version_after_new'],
  false,
)
const sockets = socketTraffic(settings, settings.rate * SOCKETS_SHARE, 'session')

export const options = {
  ...traffic.options,
  scenarios: { ...traffic.options.scenarios, session: sockets.scenario },
}
export const browser = (): void => traffic.visit('browser')
export const cookie = (): void => traffic.visit('cookie')
export const header = (): void => traffic.visit('header')
export const session = (): void => sockets.session()
export const handleSummary = (data: SummaryData) => summarise(data, settings)
