import { z } from 'zod'

/**
 * A duration as the API writes it: decimal seconds followed by `s`, e.g. `"90s"` or `"1.5s"` (the JSON form of
 * google.protobuf.Duration). Milliseconds inside.
 */
export const durationSchema = z
  .string()
  .regex(/^\d{1,6}(?:\.\d{1,9})?s$/, 'must be seconds followed by "s", such as "90s"')
  .transform((text) => Math.round(Number.parseFloat(text) * 1000))

export const formatDuration = (ms: number): string => `${ms / 1000}s`
