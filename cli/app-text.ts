/** Apps in words and tables. */
import { lookup } from 'node:dns/promises'
import type { AppAnswer, DeploymentAnswer, InstanceAnswer } from './api.ts'
import type { Context } from './context.ts'
import { ago, table } from './output.ts'

export async function showApp({ api, output }: Context, name: string): Promise<void> {
  const path = encodeURIComponent(name)
  const app = await api.call<AppAnswer>('GET', `/api/2.0/apps/${path}`)
  const { instances: present } = await api.call<{ instances: InstanceAnswer[] }>(
    'GET',
    `/api/coppice/v1/apps/${path}/instances`,
  )
  const { app_deployments } = await api.call<{ app_deployments: DeploymentAnswer[] }>(
    'GET',
    `/api/2.0/apps/${path}/deployments?page_size=5`,
  )
  const now = Date.now()
  const row = (label: string, text: string) => `${output.colors.dim(label.padEnd(12))}${text}`
  output.result({ ...app, instances: present, deployments: app_deployments }, [
    row('name', app.name),
    ...(app.description === '' ? [] : [row('description', app.description)]),
    row('url', app.urls.join('  ')),
    row('mode', describe(app)),
    row('compute', `${app.compute_status.state}: ${app.compute_status.message}`),
    row(
      'size',
      `${app.compute_size}, up to ${app.compute_limits.instance.vcpus} vCPU and ${app.compute_limits.instance.memory_gb} GB an instance (${app.compute_limits.limits})`,
    ),
    row('health', healthText(app.health_check)),
    row('app', `${app.app_status.state}: ${app.app_status.message}`),
    ...(app.operation === undefined
      ? []
      : [row('operation', `${app.operation} runs; coppice operations watch ${app.operation}`)]),
    ...(present.length === 0
      ? []
      : [
          '',
          ...table(
            ['SLOT', 'INSTANCE', 'STATE', 'ROLE', 'ADDRESS', 'STARTED', ''],
            present.map((one) => [
              String(one.slot),
              one.id,
              one.state,
              one.role,
              one.address ?? '',
              one.start_time === undefined ? '' : ago(one.start_time, now),
              one.message ?? '',
            ]),
          ),
        ]),
    ...(app_deployments.length === 0
      ? []
      : [
          '',
          ...table(
            ['DEPLOYMENT', 'STATE', 'WHEN', 'MESSAGE'],
            app_deployments.map((one) => [
              one.deployment_id,
              one.status.state,
              ago(one.create_time, now),
              one.status.message.split('\n')[0] ?? '',
            ]),
          ),
        ]),
  ])
}

const healthText = ({ path, timeout, silence_timeout }: AppAnswer['health_check']): string => {
  const asked = path === undefined ? '/ is answered below 500' : `${path} is answered below 400`
  return `${asked}, within ${timeout} of a start; given up after ${silence_timeout} of silence`
}

export const instances = (count: number): string => `${count} instance${count === 1 ? '' : 's'}`

export const describe = (app: AppAnswer): string =>
  app.mode === 'scaled'
    ? `${app.name}, a scaled app with ${instances(app.compute_min_instances ?? 1)}`
    : `${app.name}, a standard app`

/** Names under `.localhost` resolve in browsers and curl, not everywhere else (DESIGN D13). */
export async function reachableUrl(app: AppAnswer): Promise<string> {
  for (const url of app.urls) if (await lookup(new URL(url).hostname).catch(() => null)) return url
  return app.url
}
