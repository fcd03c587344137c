/**
 * What the product-compatible API takes. Strict: a field that is not known is refused (R13.3), because a setting that
 * was silently ignored is found out in production. Fields that the product knows and Coppice does not do are refused
 * with that reason; those that only answers carry are ignored, so that clients may send back what they read.
 */
import { z } from 'zod'
import { commandSchema, ENV_NAME } from '../domain/app-config.ts'
import { CoppiceError } from '../domain/errors.ts'
import { healthCheckSchema } from '../domain/health-check.ts'
import { firstIssue } from '../domain/inputs.ts'
import { appNameSchema } from '../domain/names.ts'
import { processTooLarge, wordSchema } from '../domain/process-size.ts'
import type { NewDeployment } from '../store/deployments.ts'

const fields = <Name extends string, Schema extends z.ZodType>(names: readonly Name[], schema: Schema) =>
  Object.fromEntries(names.map((name) => [name, schema])) as Record<Name, Schema>

const onlyAnswered = z.unknown().optional()
const unsupported = z.undefined({ error: 'is not supported here' }).optional()

const appFields = {
  description: z.string().max(4096).optional(),
  compute_size: z.enum(['MEDIUM', 'LARGE']).optional(),
  compute_min_instances: z.int().min(1).optional(),
  compute_max_instances: z.int().min(1).optional(),
  default_source_code_path: z.string().min(1).max(4096).optional(),
  /** Ours: the product has it of deployments only. */
  health_check: healthCheckSchema.optional(),
  ...fields(
    [
      'active_deployment',
      'app_status',
      'compute_status',
      'create_time',
      'creator',
      'effective_budget_policy_id',
      'compute_limits',
      'effective_compatibility_flags',
      'effective_usage_policy_id',
      'effective_user_api_scopes',
      'id',
      'operation',
      'pending_deployment',
      'service_principal_client_id',
      'service_principal_id',
      'service_principal_name',
      'oauth2_app_client_id',
      'oauth2_app_integration_id',
      'source_code_path',
      'update_time',
      'updater',
      'url',
      'urls',
    ],
    onlyAnswered,
  ),
  ...fields(
    [
      'budget_policy_id',
      'forward_user_access_token',
      'git_repository',
      'git_source',
      'default_git_source',
      'resources',
      'space',
      'telemetry_export_destinations',
      'thumbnail_url',
      'usage_policy_id',
      'user_api_scopes',
    ],
    unsupported,
  ),
}

/** Both set and equal: apps have a fixed number of instances (the product has no autoscaling either). */
function instancesTogether(
  body: { compute_min_instances?: number; compute_max_instances?: number },
  context: z.RefinementCtx,
): void {
  const { compute_min_instances: min, compute_max_instances: max } = body
  if ((min === undefined) !== (max === undefined))
    context.addIssue({
      code: 'custom',
      path: [min === undefined ? 'compute_min_instances' : 'compute_max_instances'],
      message: 'must be set together with its counterpart',
    })
  else if (min !== max)
    context.addIssue({
      code: 'custom',
      path: ['compute_max_instances'],
      message: 'must equal compute_min_instances: the number of instances is fixed',
    })
}

export const createAppSchema = z
  .strictObject({ name: appNameSchema, ...appFields, compatibility_flags: unsupported })
  .superRefine(instancesTogether)
export const patchAppSchema = z
  .strictObject({ name: appNameSchema.optional(), ...appFields, compatibility_flags: unsupported })
  .superRefine(instancesTogether)

/** Protocol buffers in JSON write null for "not set". */
const withoutNulls = (input: unknown): unknown =>
  typeof input === 'object' && input !== null && !Array.isArray(input)
    ? Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null))
    : input

/** `POST …/update`; what the mask names and `app` leaves out is cleared. */
export const updateSchema = z.strictObject({
  app: z.preprocess(
    withoutNulls,
    z
      .strictObject({
        name: appNameSchema.optional(),
        ...appFields,
        compatibility_flags: z.array(z.literal('PREINSTALLED_PACKAGES_LEGACY')).max(1).optional(),
      })
      .superRefine(instancesTogether),
  ),
  /** Names separated by commas without spaces, or `*`. */
  update_mask: z.string('must name the fields to update, such as "compute_size", or be "*"').min(1).max(1024),
})
export type UpdateBody = z.infer<typeof updateSchema>

export const flagSchema = z.enum(['true', 'false'], 'must be true or false').transform((text) => text === 'true')

/** R3.1 */
export const ONE_INSTANCE =
  '2 or more instances are recommended for a scaled app: with 1, a crash or a restart of the instance takes the app offline.'

const envVarSchema = z
  .strictObject({
    name: z.string().regex(ENV_NAME, 'must be letters, digits and underscores, and not begin with a digit'),
    value: wordSchema.optional(),
    value_from: z.string().min(1, 'must name a secret').optional(),
  })
  .refine((entry) => (entry.value === undefined) !== (entry.value_from === undefined), {
    message: 'needs exactly one of "value" and "value_from"',
  })

export const deploymentSchema = z
  .strictObject({
    deployment_id: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/, 'must be 1 to 64 letters, digits and hyphens')
      .optional(),
    source_code_path: z.string().min(1).max(4096).optional(),
    /** Ours: what `POST /api/coppice/v1/sources` answered. */
    source_digest: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits')
      .optional(),
    mode: z.literal('SNAPSHOT', 'must be SNAPSHOT: a deployment runs what the source was when it was taken').optional(),
    command: commandSchema.optional(),
    env_vars: z.array(envVarSchema).max(500).optional(),
    health_check: healthCheckSchema.optional(),
    ...fields(['create_time', 'creator', 'deployment_artifacts', 'operation', 'status', 'update_time'], onlyAnswered),
    ...fields(['git_source'], unsupported),
  })
  .superRefine((body, context) => {
    if (body.source_code_path !== undefined && body.source_digest !== undefined)
      context.addIssue({ code: 'custom', path: ['source_digest'], message: 'cannot go with source_code_path' })
    const seen = new Set<string>()
    body.env_vars?.forEach(({ name }, index) => {
      if (seen.has(name))
        context.addIssue({ code: 'custom', path: ['env_vars', index, 'name'], message: `${name} is there twice` })
      seen.add(name)
    })
    // Values of secrets are not known here; with them it is counted once more when the app is started.
    const env = (body.env_vars ?? []).map(({ name, value = '' }) => ({ name, value }))
    const tooLarge = processTooLarge(body.command ?? [], env)
    if (tooLarge !== null) context.addIssue({ code: 'custom', path: ['env_vars'], message: tooLarge })
  })
export type DeploymentBody = z.infer<typeof deploymentSchema>

export const emptySchema = z.strictObject({ name: z.unknown().optional() })

/** @throws CoppiceError InvalidInput with field and reason */
export function read<Schema extends z.ZodType>(schema: Schema, input: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(input)
  if (parsed.success) return parsed.data
  const { field, reason } = firstIssue(parsed.error)
  throw new CoppiceError('InvalidInput', `${field}: ${reason}`, { field })
}

/** As `read`; a request without a body has an empty one, as the product has it for start, stop and deployments. */
export const readBody = <Schema extends z.ZodType>(schema: Schema, body: unknown): z.infer<Schema> =>
  read(schema, body === undefined ? {} : body)

export const envOf = (body: DeploymentBody): NewDeployment['env'] =>
  (body.env_vars ?? []).map(({ name, value, value_from }) =>
    value_from === undefined ? { name, value: value ?? '' } : { name, valueFrom: value_from },
  )
