/** `coppice apps deploy`: from a folder to a running app with one command (R3.8). */
import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { CoppiceError } from '../domain/errors.ts'
import type { AppAnswer, DeploymentAnswer } from './api.ts'
import { describe, instances, reachableUrl } from './app-text.ts'
import { type Context, waitFor } from './context.ts'
import { type HealthFlags, healthFields } from './health-flags.ts'
import { packSource } from './pack.ts'

export type DeployFlags = HealthFlags & {
  source?: string
  sourceCodePath?: string
  instances?: number
  env: string[]
  wait: boolean
}

export async function deploy(context: Context, name: string, flags: DeployFlags): Promise<void> {
  const { api, output } = context
  const path = `/api/2.0/apps/${encodeURIComponent(name)}`
  // Everything that can be wrong here is found before anything is created.
  const folder = flags.sourceCodePath === undefined ? existingFolder(flags.source ?? '.') : null
  const envVars = flags.env.map((text) => envVar(text, context.env))
  const existing = await api.find<AppAnswer>(path)
  const has = existing?.compute_min_instances ?? 1
  if (existing !== null && flags.instances !== undefined && flags.instances !== has)
    throw new CoppiceError(
      'InvalidInput',
      `--instances: ${name} has ${has}; a deployment does not change their number; coppice apps resize does`,
      {
        field: 'instances',
      },
    )
  const source =
    folder === null ? { source_code_path: flags.sourceCodePath } : { source_digest: await upload(context, folder) }
  if (existing === null) {
    const app = await api.call<AppAnswer>('POST', '/api/2.0/apps', newApp(name, flags))
    output.note(`${output.colors.green('✓')} Created ${describe(app)}`)
  }
  const deployment = await api.call<DeploymentAnswer>('POST', `${path}/deployments`, {
    ...source,
    ...(envVars.length > 0 && { env_vars: envVars }),
    ...(healthFields(flags).length > 0 && { health_check: Object.fromEntries(healthFields(flags)) }),
  })
  const operation = { id: deployment.operation, words: `deployment of ${name}` }
  if ((await waitFor(context, operation, flags)) === null) return output.result(deployment, [])
  const app = await api.call<AppAnswer>('GET', path)
  output.note(`${output.colors.green('✓')} ${name} runs on ${instances(app.app_status.running_instances)}:`)
  output.result(app, [await reachableUrl(app)])
}

async function upload({ api, output }: Context, folder: string): Promise<string> {
  output.status(`… Uploading ${folder}`)
  const { digest, files, bytes } = await api.upload(packSource(folder))
  const size = bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`
  const count = files === 1 ? '1 file' : `${files} files`
  output.note(`${output.colors.green('✓')} Uploaded ${folder} ${output.colors.dim(`(${count}, ${size})`)}`)
  return digest
}

/** The body that creates an app: with a number of instances a scaled one. */
export const newApp = (name: string, flags: { instances?: number; description?: string }) => ({
  name,
  ...(flags.description !== undefined && { description: flags.description }),
  ...(flags.instances !== undefined && {
    compute_min_instances: flags.instances,
    compute_max_instances: flags.instances,
  }),
})

function existingFolder(path: string): string {
  const folder = resolve(path)
  if (existsSync(folder) && statSync(folder).isDirectory()) return folder
  throw new CoppiceError('InvalidInput', `--source: there is no folder ${folder}`, { field: 'source' })
}

function envVar(text: string, env: NodeJS.ProcessEnv): { name: string; value: string } {
  const at = text.indexOf('=')
  if (at > 0) return { name: text.slice(0, at), value: text.slice(at + 1) }
  const value = env[text]
  if (at === 0 || value === undefined)
    throw new CoppiceError('InvalidInput', `--env ${text}: write NAME=VALUE, or a NAME that is set here`, {
      field: 'env',
    })
  return { name: text, value }
}
