/**
 * What an update of an app means (R5.0). The product has no words for "convert" and "resize": both counts set make a
 * scaled app, and their absence a standard one. Here a body and its mask become one change, or a clear refusal.
 */
import { CoppiceError } from '../domain/errors.ts'
import { DEFAULT_HEALTH, type HealthCheck } from '../domain/health-check.ts'
import type { App, AppSettings } from '../domain/records.ts'
import type { RequestedChange } from '../store/admissions.ts'
import type { UpdateBody } from './bodies.ts'

/** The one compatibility flag there is; with it an app has the pre-installed Python libraries. */
export const PREINSTALLED_FLAG = 'PREINSTALLED_PACKAGES_LEGACY'

/** In the order in which the product's clients send them. */
const PRODUCT_FIELDS = ['description', 'compute_size', 'compute_min_instances', 'compute_max_instances'] as const
const FIELDS = [
  ...PRODUCT_FIELDS,
  'compatibility_flags',
  // Ours, as a whole or by its parts.
  'health_check',
  'health_check.path',
  'health_check.timeout',
  'health_check.silence_timeout',
] as const
type Field = (typeof FIELDS)[number]

/** Of the product's mask, and nothing here: to clear them is to leave them as they are. */
const NOT_HERE = new Set([
  'budget_policy_id',
  'usage_policy_id',
  'resources',
  'user_api_scopes',
  'forward_user_access_token',
  'git_repository',
  'telemetry_export_destinations',
])

export type AppUpdate = {
  /** Done at once, or at the pivot of the operation. */
  settings: AppSettings
  /** The operation that it takes; null for none. One at a time: two of them cannot be one saga. */
  change: RequestedChange | null
}

const DEFAULT_SIZE = 'MEDIUM'

/** @throws CoppiceError InvalidInput, InvalidState; always before anything is changed. */
export function readUpdate(app: App, { app: wanted, update_mask }: UpdateBody): AppUpdate {
  const masked = maskedFields(update_mask, wanted)
  if (wanted.name !== undefined && wanted.name !== app.name)
    throw invalid('app.name', `is ${wanted.name}, the path says ${app.name}; an app cannot be renamed`)
  return {
    settings: {
      ...(masked.has('description') && { description: wanted.description ?? '' }),
      ...healthOf(wanted.health_check, masked),
      ...(masked.has('compatibility_flags') &&
        optsOut(app, wanted.compatibility_flags ?? []) && { preinstalled: false as const }),
    },
    change: changeOf(app, wanted, masked),
  }
}

function maskedFields(mask: string, wanted: UpdateBody['app']): Set<Field> {
  // A full replacement clears what is not there; the libraries, which never come back, only when they are named, and the
  // health check likewise, which a client of the product does not know.
  if (mask === '*') {
    const named = (['compatibility_flags', 'health_check'] as const).filter((field) => wanted[field] !== undefined)
    return new Set([...PRODUCT_FIELDS, ...named])
  }
  const fields = new Set<Field>()
  for (const name of mask.split(',')) {
    if ((FIELDS as readonly string[]).includes(name)) fields.add(name as Field)
    else if (!NOT_HERE.has(name))
      throw invalid('update_mask', `"${name}" cannot be updated; it takes ${FIELDS.join(', ')}, or *`)
  }
  if (fields.has('compute_min_instances') !== fields.has('compute_max_instances'))
    throw invalid('update_mask', 'takes compute_min_instances and compute_max_instances together')
  return fields
}

/** What the mask names and the body leaves out is cleared: it is as with a new app. */
function healthOf(wanted: Partial<HealthCheck> = {}, masked: Set<Field>): { health?: Partial<HealthCheck> } {
  const parts: Array<[Field, keyof HealthCheck]> = [
    ['health_check.path', 'path'],
    ['health_check.timeout', 'timeoutMs'],
    ['health_check.silence_timeout', 'silenceMs'],
  ]
  const named = parts.filter(([field]) => masked.has('health_check') || masked.has(field)).map(([, key]) => key)
  if (named.length === 0) return {}
  return { health: Object.fromEntries(named.map((key) => [key, wanted[key] ?? DEFAULT_HEALTH[key]])) }
}

function optsOut(app: App, submitted: string[]): boolean {
  if (app.mode === 'standard')
    throw new CoppiceError(
      'InvalidState',
      `compatibility_flags: ${app.name} is a standard app, which always has the pre-installed libraries; only a converted app can opt out`,
      { field: 'compatibility_flags' },
    )
  const keeps = submitted.includes(PREINSTALLED_FLAG)
  if (keeps && !app.preinstalled)
    throw invalid(
      'compatibility_flags',
      `${PREINSTALLED_FLAG} can be removed, never added; ${app.name} does not have it`,
    )
  return !keeps
}

function changeOf(app: App, wanted: UpdateBody['app'], masked: Set<Field>): RequestedChange | null {
  const computeSize = masked.has('compute_size') ? (wanted.compute_size ?? DEFAULT_SIZE) : app.computeSize
  const resized = computeSize !== app.computeSize
  // Without the counts in the mask the app stays in its mode.
  const scaled = masked.has('compute_min_instances')
    ? wanted.compute_min_instances !== undefined
    : app.mode === 'scaled'
  const count = masked.has('compute_min_instances') ? (wanted.compute_min_instances ?? 1) : app.instances
  if (scaled !== (app.mode === 'scaled')) {
    if (scaled && count !== 1)
      throw new CoppiceError(
        'InvalidState',
        `compute_min_instances: ${app.name} is a standard app, so it cannot get ${count} instances at once; convert with 1 first, then raise the number`,
        { field: 'compute_min_instances' },
      )
    if (resized)
      throw new CoppiceError(
        'InvalidState',
        `compute_size: ${app.name} cannot be converted and get another size in one update; convert it first, then change its size`,
        { field: 'compute_size' },
      )
    return { type: 'convert', mode: scaled ? 'scaled' : 'standard' }
  }
  if (count === app.instances && !resized) return null
  return {
    type: 'resize',
    ...(count !== app.instances && { instances: count }),
    ...(resized && { computeSize }),
  }
}

const invalid = (field: string, reason: string): CoppiceError =>
  new CoppiceError('InvalidInput', `${field}: ${reason}`, { field })
