import { z } from 'zod'
import { durationSchema } from './durations.ts'
import { DEFAULTS } from './limits.ts'

/**
 * How an app is asked whether it is well, and how long it may be silent. It belongs to the app: a deployment that names
 * something sets that when it takes over, one that does not goes by what the app has, and it can be changed without one.
 */
export type HealthCheck = {
  /** Asked with GET, well below 400; null asks `/`, well below 500. */
  path: string | null
  /** How long a new instance may take to become healthy. */
  timeoutMs: number
  /** How long an instance may give no byte while somebody waits for one (R12.2). */
  silenceMs: number
}

export const DEFAULT_HEALTH: HealthCheck = {
  path: null,
  timeoutMs: DEFAULTS.healthTimeoutMs,
  silenceMs: DEFAULTS.silenceMs,
}

const LEAST_SILENCE_MS = 1_000
const MOST_SILENCE_MS = 3_600_000

/** What a request line can hold. */
export const healthPathSchema = z
  .string()
  .startsWith('/', 'must begin with "/"')
  .regex(/^[!-~]*$/, 'must be ASCII without blanks; write others as %20')
  .max(2048)
const path = healthPathSchema.nullable()
const timeout = durationSchema.refine((ms) => ms > 0, 'must be more than "0s"')
const silenceTimeout = durationSchema.refine(
  (ms) => ms >= LEAST_SILENCE_MS && ms <= MOST_SILENCE_MS,
  'must be from "1s" to "3600s"',
)

/** As inputs of workflows have it. */
export const healthCheckInputSchema = z.strictObject({
  path: path.optional(),
  timeout: timeout.optional(),
  silenceTimeout: silenceTimeout.optional(),
})

/** As the API has it; `silence_timeout` is ours. */
export const healthCheckSchema = z
  .strictObject({ path: path.optional(), timeout: timeout.optional(), silence_timeout: silenceTimeout.optional() })
  .transform(({ silence_timeout: silenceTimeout, ...rest }) => healthCheckOf({ ...rest, silenceTimeout }))

/** What was named, and no more. */
export function healthCheckOf(input: z.infer<typeof healthCheckInputSchema> = {}): Partial<HealthCheck> {
  return {
    ...(input.path !== undefined && { path: input.path }),
    ...(input.timeout !== undefined && { timeoutMs: input.timeout }),
    ...(input.silenceTimeout !== undefined && { silenceMs: input.silenceTimeout }),
  }
}
