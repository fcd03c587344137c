import { expect, it } from 'vitest'
import type { App } from '../domain/records.ts'
import { readUpdate } from './app-update.ts'
import { read, updateSchema } from './bodies.ts'

const app = (patch: Partial<App>): App => ({
  name: 'hello',
  id: '1',
  description: '',
  mode: 'standard',
  instances: 1,
  computeSize: 'MEDIUM',
  place: false,
  preinstalled: true,
  computeState: 'ACTIVE',
  computeMessage: '',
  desired: 'running',
  activeDeployment: null,
  pendingDeployment: null,
  operation: null,
  defaultSourceCodePath: null,
  health: { path: '/health', timeoutMs: 90_000, silenceMs: 30_000 },
  port: null,
  routeVersion: 0,
  createdAt: 0,
  updatedAt: 0,
  creator: 'ada',
  ...patch,
})
const STANDARD = app({})
const SCALED = app({ mode: 'scaled', instances: 3 })
const counts = (n: number) => ({ compute_min_instances: n, compute_max_instances: n })
const COUNTS = 'compute_min_instances,compute_max_instances'
const update = (of: App, update_mask: string, body: object) =>
  readUpdate(of, read(updateSchema, { app: body, update_mask }))
const NOTHING = { settings: {}, change: null }

it.each([
  ['R5.0 both counts of 1 convert a standard app', STANDARD, COUNTS, counts(1), { type: 'convert', mode: 'scaled' }],
  ['R5.0 clearing both converts back from any count', SCALED, COUNTS, {}, { type: 'convert', mode: 'standard' }],
  [
    'nulls clear like fields that are left out',
    SCALED,
    COUNTS,
    { compute_min_instances: null, compute_max_instances: null },
    { type: 'convert', mode: 'standard' },
  ],
  ['R6.1 another count of a scaled app resizes it', SCALED, COUNTS, counts(5), { type: 'resize', instances: 5 }],
  [
    'R6.1 another size resizes it',
    SCALED,
    'compute_size',
    { compute_size: 'LARGE' },
    { type: 'resize', computeSize: 'LARGE' },
  ],
  [
    'a standard app may have another size',
    STANDARD,
    'compute_size',
    { compute_size: 'LARGE' },
    { type: 'resize', computeSize: 'LARGE' },
  ],
  [
    'count and size are one resize',
    SCALED,
    `${COUNTS},compute_size`,
    { ...counts(2), compute_size: 'LARGE' },
    { type: 'resize', instances: 2, computeSize: 'LARGE' },
  ],
  [
    'what is so already needs no operation',
    SCALED,
    `${COUNTS},compute_size`,
    { ...counts(3), compute_size: 'MEDIUM' },
    null,
  ],
  ['fields beside the mask are not touched', SCALED, 'compute_size', { ...counts(5), compute_size: 'MEDIUM' }, null],
  [
    '* replaces all, so that counts which are left out convert back',
    SCALED,
    '*',
    { description: 'x' },
    { type: 'convert', mode: 'standard' },
  ],
  ['* of a standard app leaves it one', STANDARD, '*', { description: 'x' }, null],
  [
    'fields of the product that are not done here may stand in the mask',
    SCALED,
    `budget_policy_id,resources,${COUNTS}`,
    counts(2),
    { type: 'resize', instances: 2 },
  ],
])('%s', (_words, of, mask, body, change) => {
  expect(update(of, mask, body).change).toEqual(change)
})

it.each([
  [
    'R5.0 another count than 1 for a standard app',
    STANDARD,
    COUNTS,
    counts(3),
    /convert with 1 first/,
    'compute_min_instances',
  ],
  [
    'conversion and size in one',
    STANDARD,
    `${COUNTS},compute_size`,
    { ...counts(1), compute_size: 'LARGE' },
    /convert it first/,
    'compute_size',
  ],
  [
    'conversion back and size in one',
    SCALED,
    `${COUNTS},compute_size`,
    { compute_size: 'LARGE' },
    /convert it first/,
    'compute_size',
  ],
  ['a mask with one count alone', SCALED, 'compute_min_instances', counts(2), /together/, 'update_mask'],
  ['a field that only a deployment has', SCALED, 'env_vars', {}, /"env_vars" cannot be updated/, 'update_mask'],
  ['a mask with spaces', SCALED, 'description, compute_size', {}, /" compute_size" cannot/, 'update_mask'],
  ['another name', SCALED, 'description', { name: 'other' }, /renamed/, 'app.name'],
  [
    'R5.4 the opt-out of a standard app',
    STANDARD,
    'compatibility_flags',
    { compatibility_flags: [] },
    /only a converted app/,
    'compatibility_flags',
  ],
  [
    'R5.4 the flag for an app without it',
    app({ mode: 'scaled', preinstalled: false }),
    'compatibility_flags',
    { compatibility_flags: ['PREINSTALLED_PACKAGES_LEGACY'] },
    /never added/,
    'compatibility_flags',
  ],
])('is refused: %s', (_words, of, mask, body, reason, field) => {
  expect(() => update(of, mask, body)).toThrow(
    expect.objectContaining({ message: expect.stringMatching(reason), details: { field } }),
  )
})

it('R5.4 a converted app opts out by leaving the flag away, keeps it by sending it, and by a * that does not name it', () => {
  expect(update(SCALED, 'compatibility_flags', {})).toEqual({ settings: { preinstalled: false }, change: null })
  expect(update(SCALED, 'compatibility_flags', { compatibility_flags: ['PREINSTALLED_PACKAGES_LEGACY'] })).toEqual(
    NOTHING,
  )
  expect(update(SCALED, '*', counts(3))).toEqual({ settings: { description: '' }, change: null })
  expect(update(SCALED, '*', { ...counts(3), compatibility_flags: [] }).settings).toEqual({
    description: '',
    preinstalled: false,
  })
})

it('a description goes beside any of them', () => {
  expect(update(SCALED, `description,${COUNTS}`, { description: 'new', ...counts(1) })).toEqual({
    settings: { description: 'new' },
    change: { type: 'resize', instances: 1 },
  })
})

it.each([
  ['of its path changes that alone', 'health_check.path', { health_check: { path: '/ready' } }, { path: '/ready' }],
  ['of a part that is left out clears that part', 'health_check.path', {}, { path: null }],
  [
    'of two parts takes both',
    'health_check.timeout,health_check.silence_timeout',
    { health_check: { path: '/not-masked', timeout: '5s', silence_timeout: '3600s' } },
    { timeoutMs: 5_000, silenceMs: 3_600_000 },
  ],
  [
    'of the whole replaces the whole',
    'health_check',
    { health_check: { silence_timeout: '1s' } },
    { path: null, timeoutMs: 60_000, silenceMs: 1_000 },
  ],
  [
    'of everything takes a health check that is there',
    '*',
    { description: 'x', health_check: { path: '/ready' } },
    { path: '/ready', timeoutMs: 60_000, silenceMs: 15_000 },
  ],
  ['of everything leaves it alone for a client that does not know it', '*', { description: 'x' }, undefined],
])('R12.2 a mask %s', (_, mask, body, health) => {
  expect(update(STANDARD, mask, body).settings.health).toEqual(health)
})

it.each([
  [{ silence_timeout: '0.999s' }, 'app.health_check.silence_timeout: must be from "1s" to "3600s"'],
  [{ silence_timeout: '3601s' }, 'app.health_check.silence_timeout: must be from "1s" to "3600s"'],
  [{ silence_timeout: '1m' }, 'app.health_check.silence_timeout: must be seconds followed by "s", such as "90s"'],
  [{ timeout: '0s' }, 'app.health_check.timeout: must be more than "0s"'],
  [{ path: 'health' }, 'app.health_check.path: must begin with "/"'],
  [{ path: '/a b' }, 'app.health_check.path: must be ASCII without blanks; write others as %20'],
  [{ silence: '5s' }, 'app.health_check.silence: is not a known field'],
])('R13.3 a health check of %j is refused', (health_check, message) => {
  expect(() => update(STANDARD, 'health_check', { health_check })).toThrow(message)
})
