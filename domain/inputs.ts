/**
 * What a workflow takes when it is started by hand: one JSON object, every field but `app` with a default (DESIGN D1).
 * Environment values and secrets are not among the fields on purpose: whatever enters a workflow stays readable in
 * Temporal's database (R3.7).
 */
import { z } from 'zod'
import { CoppiceError } from './errors.ts'
import { healthCheckInputSchema } from './health-check.ts'
import { appNameSchema } from './names.ts'
import { wordSchema } from './process-size.ts'
import { OPERATION_TYPES, type OperationType } from './states.ts'

const base = {
  app: appNameSchema,
  /** Only from the API: the operation it wrote down before it started the workflow. */
  operation: z.string().min(1).max(64).optional(),
}

export const deployInputSchema = z.strictObject({
  ...base,
  /** Folder under a configured source root, e.g. `examples/hello`. Default: the one of the last deployment. */
  sourceCodePath: z.string().min(1).max(4096).optional(),
  /** Digest of an uploaded source instead of a folder. */
  sourceDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits')
    .optional(),
  /** Instances of an app that does not exist yet; 1 to the limit makes it a scaled app. Default: a standard app. */
  instances: z.int().min(1).max(64).optional(),
  command: z.array(wordSchema.min(1)).min(1).optional(),
  /** What is left out the app keeps; see `HealthCheck`. */
  healthCheck: healthCheckInputSchema.optional(),
})
export type DeployInput = z.infer<typeof deployInputSchema>

export const convertInputSchema = z.strictObject({
  ...base,
  /** What the app is to become. */
  to: z.enum(['scaled', 'standard']).default('scaled'),
})

export const resizeInputSchema = z
  .strictObject({
    ...base,
    instances: z.int().min(1).max(64).optional(),
    computeSize: z.enum(['MEDIUM', 'LARGE']).optional(),
  })
  .refine((input) => (input.operation ?? input.instances ?? input.computeSize) !== undefined, {
    path: ['instances'],
    error: 'give instances, computeSize, or both',
  })

export const rollbackInputSchema = z.strictObject({
  ...base,
  /** Id of a deployment that succeeded. Default: the one before the one that runs. */
  deployment: z.string().min(1).max(64).optional(),
})

export const plainInputSchema = z.strictObject(base)
export type PlainInput = z.infer<typeof plainInputSchema>

/** What any of the types may take; which fields a type takes its schema says. */
export type OperationInput = DeployInput &
  Partial<z.infer<typeof convertInputSchema>> &
  Partial<z.infer<typeof resizeInputSchema>> &
  Partial<z.infer<typeof rollbackInputSchema>>

const SCHEMAS: Record<OperationType, z.ZodType<PlainInput>> = {
  deploy: deployInputSchema,
  convert: convertInputSchema,
  resize: resizeInputSchema,
  rollback: rollbackInputSchema,
  start: plainInputSchema,
  stop: plainInputSchema,
  restart: plainInputSchema,
  delete: plainInputSchema,
  repair: plainInputSchema,
}

const EXAMPLES: Record<OperationType, string> = {
  deploy: '{"app":"hello","sourceCodePath":"examples/hello"}',
  convert: '{"app":"hello","to":"scaled"}',
  resize: '{"app":"hello","instances":3}',
  rollback: '{"app":"hello"}',
  start: '{"app":"hello"}',
  stop: '{"app":"hello"}',
  restart: '{"app":"hello"}',
  delete: '{"app":"hello"}',
  repair: '{"app":"hello"}',
}

/**
 * Reads what somebody gave to the workflow `type`.
 *
 * @throws CoppiceError InvalidInput with the field, the reason and an example that works.
 */
export function parseInput(type: OperationType, input: unknown): OperationInput {
  const example = `Example: --input '${EXAMPLES[type]}'`
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw new CoppiceError('InvalidInput', `${type} takes one JSON object. ${example}`, { field: '(input)' })
  const parsed = SCHEMAS[type].safeParse(input)
  if (parsed.success) return parsed.data as OperationInput
  const { field, reason } = firstIssue(parsed.error)
  throw new CoppiceError('InvalidInput', `${field}: ${reason}. ${example}`, { field })
}

export const unknownType = (type: string): CoppiceError =>
  new CoppiceError('InvalidInput', `unknown workflow type "${type}"; the types are ${OPERATION_TYPES.join(', ')}`, {
    field: 'type',
  })

/** The first thing that is wrong, as field and reason. */
export function firstIssue(error: z.ZodError): { field: string; reason: string } {
  const issue = error.issues[0]
  if (issue === undefined) return { field: '(input)', reason: 'is not valid' }
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '?'
    return { field: [...issue.path, key].join('.'), reason: 'is not a known field' }
  }
  return { field: issue.path.length === 0 ? '(input)' : issue.path.join('.'), reason: issue.message }
}
