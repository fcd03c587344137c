import { z } from 'zod'

/**
 * An app's name: 2–30 lowercase letters, digits and hyphens, beginning with a letter, ending in a letter or digit.
 * It is also a DNS label of the app's host name (RFC 1035 2.3.1), which is why it is this narrow.
 */
export const APP_NAME = /^[a-z](?:[a-z0-9-]{0,28}[a-z0-9])$/

export const appNameSchema = z
  .string()
  .regex(APP_NAME, 'must be 2 to 30 lowercase letters, digits or hyphens, begin with a letter and not end in a hyphen')

/** The id of the instance that `operation` puts into `slot` of `app`; the same words always give the same id. */
export function instanceId(app: string, operation: string, slot: number): string {
  return `${app}-${operation.slice(-8)}-${slot}`
}

/** The slot is the stable place that an instance fills; sessions belong to slots (DESIGN D8). */
export type Slot = number
