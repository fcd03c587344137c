/** The settings that the worker and the control plane of one data directory have to agree on. */
import { resolve } from 'node:path'
import { CoppiceError } from '../domain/errors.ts'
import { DEFAULTS } from '../domain/limits.ts'
import { type Range, wholeNumber } from '../domain/whole-number.ts'
import { BACKUP_BOUNDS, type BackupBounds } from './backups.ts'
import type { PortRange } from './ports.ts'
import type { StoreOptions } from './store.ts'
import { COMPUTE_SIZES, type ComputeSizes } from './workspace.ts'

const GIB = 2 ** 30
const DAY_MS = 24 * 3_600_000

/**
 * | variable | default | when to change it |
 * |---|---|---|
 * | COPPICE_HOME | `.coppice` | another data directory, e.g. for a second stack |
 * | COPPICE_INSTANCE_PORTS | 20000-29999 | these ports belong to something else here |
 * | COPPICE_APP_PORTS | 8100-8299 | likewise, for the ports on which routers serve one app each |
 * | COPPICE_DRAIN_TIMEOUT_MS | 30000 | requests of an app take longer than that |
 * | COPPICE_HORIZONTAL_SCALING | off | `on`: the preview is on until an admin turns it off |
 * | COPPICE_MAX_INSTANCES | 5 | an app needs more instances |
 * | COPPICE_MAX_SCALED_APPS | 5 | more apps are to be scaled |
 * | COPPICE_COMPUTE_SIZES | MEDIUM:2:6,LARGE:4:12 | instances may take other shares of this machine: vCPU, memory in GB |
 * | COPPICE_BACKUPS | 5 | of each kind, so many backups stay in the data directory |
 * | COPPICE_BACKUP_GB | 10 | all of these together may take more of the disk, or less |
 * | COPPICE_BACKUP_DAYS | 30 | they are to go sooner, or later; the three newest of each kind stay whatever their age |
 *
 * @throws CoppiceError InvalidInput with the variable and what it takes.
 */
export function storeOptionsFrom(
  env: NodeJS.ProcessEnv,
): StoreOptions & Required<Pick<StoreOptions, 'home' | 'backups'>> {
  return {
    home: resolve(env.COPPICE_HOME ?? '.coppice'),
    instancePorts: range(env, 'COPPICE_INSTANCE_PORTS', { first: 20_000, last: 29_999 }),
    appPorts: range(env, 'COPPICE_APP_PORTS', { first: 8100, last: 8299 }),
    drainTimeoutMs: count(env, 'COPPICE_DRAIN_TIMEOUT_MS', DEFAULTS.drainTimeoutMs, {
      min: 0,
      max: DAY_MS,
      unit: 'ms',
    }),
    computeSizes: sizes(env),
    backups: backupBoundsFrom(env),
    workspace: {
      horizontalScaling: flag(env, 'COPPICE_HORIZONTAL_SCALING'),
      maxInstancesPerApp: count(env, 'COPPICE_MAX_INSTANCES', DEFAULTS.maxInstancesPerApp, { min: 1, max: 64 }),
      maxScaledApps: count(env, 'COPPICE_MAX_SCALED_APPS', DEFAULTS.maxScaledApps, { min: 0, max: 100_000 }),
    },
  }
}

/** @throws as `storeOptionsFrom` */
export const backupBoundsFrom = (env: NodeJS.ProcessEnv): BackupBounds => ({
  maxCount: count(env, 'COPPICE_BACKUPS', BACKUP_BOUNDS.maxCount, { min: 0, max: 10_000 }),
  maxBytes:
    count(env, 'COPPICE_BACKUP_GB', BACKUP_BOUNDS.maxBytes / GIB, { min: 0, max: 1_000_000, unit: 'GiB' }) * GIB,
  maxAgeMs:
    count(env, 'COPPICE_BACKUP_DAYS', BACKUP_BOUNDS.maxAgeMs / DAY_MS, { min: 0, max: 36_500, unit: 'days' }) * DAY_MS,
})

const invalid = (field: string, text: string, takes: string): CoppiceError =>
  new CoppiceError('InvalidInput', `${field} is "${text}"; it takes ${takes}`, { field })

function range(env: NodeJS.ProcessEnv, name: string, fallback: PortRange): PortRange {
  const text = env[name]
  if (text === undefined || text === '') return fallback
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text)
  const first = Number(match?.[1])
  const last = Number(match?.[2])
  if (match === null || first < 1 || last > 65_535 || first > last)
    throw invalid(name, text, `two ports, such as ${fallback.first}-${fallback.last}`)
  return { first, last }
}

function sizes(env: NodeJS.ProcessEnv): ComputeSizes {
  const found: ComputeSizes = { ...COMPUTE_SIZES }
  const text = env.COPPICE_COMPUTE_SIZES ?? ''
  for (const part of text === '' ? [] : text.split(',')) {
    const [, name, vcpus, memoryGb] =
      /^(MEDIUM|LARGE):(\d{1,4}(?:\.\d{1,3})?):(\d{1,5}(?:\.\d{1,3})?)$/.exec(part) ?? []
    if (name === undefined || !(Number(vcpus) > 0) || !(Number(memoryGb) > 0))
      throw invalid('COPPICE_COMPUTE_SIZES', text, 'sizes such as MEDIUM:2:6,LARGE:4:12 (vCPU, GB)')
    found[name as keyof ComputeSizes] = { vcpus: Number(vcpus), memoryGb: Number(memoryGb) }
  }
  return found
}

function flag(env: NodeJS.ProcessEnv, name: string): boolean {
  const text = env[name] ?? ''
  if (!['', 'on', 'off'].includes(text)) throw invalid(name, text, 'on or off')
  return text === 'on'
}

function count(env: NodeJS.ProcessEnv, name: string, fallback: number, range: Range): number {
  const text = env[name]
  return text === undefined || text === '' ? fallback : wholeNumber(name, text, range)
}
