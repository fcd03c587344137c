import { type Document, isScalar, LineCounter, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import { CoppiceError } from './errors.ts'
import { byteLength, wordSchema } from './process-size.ts'

/**
 * `app.yaml` (or `app.yml`): how an app is started and what is in its environment. Every scalar is read as the text
 * that stands there (YAML's failsafe schema), so that `value: 1.10` is "1.10" and `value: yes` is "yes".
 */

/** Where it is looked for, in this order; the product's own local runner looks for `app.yml` first, too. */
export const APP_CONFIG_FILES = ['app.yml', 'app.yaml'] as const

/** A configuration is a page of text; more is a mistake, and costs the parser time. */
const MAX_CONFIG_BYTES = 64 * 1024

export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

/** A variable of the app: a value, or the name of the secret that holds it (R3.7). */
export const envVarSchema = z
  .strictObject({
    name: z.string().regex(ENV_NAME, 'must be letters, digits and underscores, and not begin with a digit'),
    value: wordSchema.optional(),
    valueFrom: z.string().min(1, 'must name a secret').optional(),
  })
  .refine((entry) => (entry.value === undefined) !== (entry.valueFrom === undefined), {
    message: 'needs exactly one of "value" and "valueFrom"',
  })
  .transform(
    ({ name, value, valueFrom }): EnvVar =>
      valueFrom === undefined ? { name, value: value ?? '' } : { name, valueFrom },
  )
export type EnvVar = { name: string; value: string } | { name: string; valueFrom: string }

/** Names of the secrets that an app needs; asked before anything is built, so that a missing one costs nothing. */
export function secretsNeeded(entries: ReadonlyArray<EnvVar>): string[] {
  return [...new Set(entries.flatMap((entry) => ('valueFrom' in entry ? [entry.valueFrom] : [])))]
}

/** Program and arguments. There is no shell between; `$DATABRICKS_APP_PORT` alone is substituted. */
export const commandSchema = z
  .array(wordSchema, {
    error: 'must be a list of words such as ["python", "app.py"]; it is run without a shell',
  })
  .min(1, 'must not be empty')
  .refine((words) => words[0] !== '', { message: 'must begin with a program' })

export const appConfigSchema = z.strictObject({
  command: commandSchema.optional(),
  env: z
    .array(envVarSchema, { error: 'must be a list of entries with "name" and "value" or "valueFrom"' })
    .default([])
    .superRefine((entries, context) => {
      const seen = new Set<string>()
      entries.forEach((entry, index) => {
        if (seen.has(entry.name)) {
          context.addIssue({ code: 'custom', path: [index, 'name'], message: `${entry.name} is there twice` })
        }
        seen.add(entry.name)
      })
    }),
})
export type AppConfig = z.infer<typeof appConfigSchema>

/** What an app without `app.yaml` has. */
export const EMPTY_APP_CONFIG: AppConfig = { env: [] }

/**
 * Reads the text of `file`. Throws AppConfigInvalid, whose message names the file, the field and the reason, and whose
 * `details.field` is the field, e.g. `env[2].valueFrom`.
 */
export function parseAppConfig(file: string, text: string): AppConfig {
  if (byteLength(text) > MAX_CONFIG_BYTES) {
    throw new CoppiceError('AppConfigInvalid', `${file} is larger than ${MAX_CONFIG_BYTES} bytes`, { file })
  }
  // Errors made pretty quote the text, and a text can have as many of them as it has characters.
  const lines = new LineCounter()
  // Nor does the library look for keys that are there twice: it compares each with all before it.
  const options = { schema: 'failsafe', prettyErrors: false, uniqueKeys: false, lineCounter: lines } as const
  const document = parseDocument(text, options)
  const [syntax] = document.errors
  const wrong = syntax === undefined ? repeatedKey(document) : { at: syntax.pos[0], reason: syntax.message }
  if (wrong !== null) {
    const { line, col } = lines.linePos(wrong.at)
    const words = `${file}, line ${line}, column ${col}: ${wrong.reason}`
    throw new CoppiceError('AppConfigInvalid', words, { file, line })
  }
  const result = appConfigSchema.safeParse(content(document, file))
  if (result.success) return result.data

  const issue = result.error.issues[0]
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const field = fieldName([...(issue?.path ?? []), ...(unknown === undefined ? [] : [unknown])])
  const reason = unknown === undefined ? issue?.message : unknownField(unknown)
  throw new CoppiceError('AppConfigInvalid', `${file}: ${field === '' ? 'the file' : field} ${reason}`, { file, field })
}

/** The first key that its mapping has already, and where it stands in the text. */
function repeatedKey(document: Document.Parsed): { at: number; reason: string } | null {
  let at: number | null = null
  visit(document, {
    Map(_, { items }) {
      const seen = new Set<unknown>()
      for (const { key } of items) {
        if (!isScalar(key)) continue
        if (seen.has(key.value)) {
          at = key.range?.[0] ?? 0
          return visit.BREAK
        }
        seen.add(key.value)
      }
    },
  })
  return at === null ? null : { at, reason: 'Map keys must be unique' }
}

function content(document: ReturnType<typeof parseDocument>, file: string): unknown {
  try {
    // An empty file, or one of comments only, says nothing; it is not wrong.
    return document.contents === null || document.toJS() === '' ? {} : document.toJS({ maxAliasCount: 20 })
  } catch (error) {
    throw new CoppiceError('AppConfigInvalid', `${file}: ${(error as Error).message}`, { file }, { cause: error })
  }
}

function unknownField(key: string): string {
  if (key === 'value_from') return 'is not known here; write "valueFrom"'
  return 'is not a known field; known are "command" and "env", and in "env" "name", "value", "valueFrom"'
}

function fieldName(path: ReadonlyArray<PropertyKey>): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`))
    .join('')
}
