/**
 * What does the loss of an instance cost? Kill one while this runs; the runner does it itself.
 *
 *   k6 run -e APP_URL=https://my-app.example loadtest/failover.ts
 */
import { settingsFromEnv } from './k6/env.ts'
import { type SummaryData, summarise } from './k6/summary.ts'
import { httpTraffic } from './k6/traffic.ts'

const settings = settingsFromEnv()
const traffic = httpTraffic(settings, ['lost_repeatable', 'refused', 'key_replaced'], false)

export const options = traffic.options
export const browser = (): void => traffic.visit('browser')
export const cookie = (): void => traffic.visit('cookie')
export const header = (): void => traffic.visit('header')
export const handleSummary = (data: SummaryData) => summarise(data, settings)
