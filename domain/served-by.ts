/**
 * Which instance answered, in the words of the router: `X-Served-By: <instance>; slot=<n>; deployment=<id>`. It says so to
 * whoever holds the app's naming key, such as a load test. No imports, so that k6 can load it.
 */

export const SERVED_BY_HEADER = 'X-Served-By'

/** In it a client shows the naming key of the app; no app ever gets it. */
export const NAMING_KEY_HEADER = 'X-Coppice-Naming-Key'

/** `deployment`: null where the route table does not say it. */
export type ServedBy = { instance: string; slot: number; deployment: string | null }

export const formatServedBy = ({ instance, slot, deployment }: ServedBy): string =>
  `${instance}; slot=${slot}${deployment === null ? '' : `; deployment=${deployment}`}`

/** Others use the header as well, for words of their own: null for all that is not as above. */
export function parseServedBy(value: string): ServedBy | null {
  const [, instance, slot, deployment = null] =
    /^([^\s;,]+); slot=(\d{1,2})(?:; deployment=([^\s;,]+))?$/.exec(value) ?? []
  return instance === undefined ? null : { instance, slot: Number(slot), deployment }
}
