/**
 * Does every client stay with its instance? Browsers with a cookie jar, clients with a cookie of their own, clients
 * with a routing header, while nothing happens to the app.
 *
 *   k6 run -e APP_URL=https://my-app.example loadtest/affinity.ts
 */
import { settingsFromEnv } from './k6/env.ts'
import { type SummaryData, summarise } from './k6/summary.ts'
import { httpTraffic } from './k6/traffic.ts'

const settings = settingsFromEnv()
const traffic = httpTraffic(
  settings,
  ['affinity_broken', 'key_replaced', 'cookie_unguarded', 'lost_repeatable', 'lost_other'],
  true,
)

export const options = traffic.options
export const browser = (): void => traffic.visit('browser')
export const cookie = (): void => traffic.visit('cookie')
export const header = (): void => traffic.visit('header')
export const handleSummary = (data: SummaryData) => summarise(data, settings)
