/** Of the platform's REST API what the load tests use. */
import { type ApiAddress, callApi } from '../../scripts/stack/client.ts'

export type AppAnswer = {
  name: string
  mode: 'standard' | 'scaled'
  urls: string[]
  compute_min_instances?: number
  /** Of a scaled app that has the pre-installed libraries. */
  effective_compatibility_flags?: string[]
  /** The one that is under way. */
  operation?: string
  active_deployment?: {
    deployment_id: string
    source_code_path?: string
    source_digest?: string
    command?: string[]
    env_vars?: { name: string }[]
  }
}

export type InstanceAnswer = {
  id: string
  slot: number
  role: 'standby' | 'serving' | 'draining'
  state: string
  pid?: number
  /** `host:port` */
  address?: string
}

export type RouterAnswer = { name: string; address: string; counted: boolean; behind: boolean; down: string[] }

export type OperationAnswer = {
  id: string
  type: string
  state: string
  deployment_id?: string
  request_time: string
  end_time?: string
  failure?: { message: string }
  steps: Array<{ step: string; words: string; detail?: string; start_time: string; end_time?: string }>
}

export type PlatformApi = {
  address: ApiAddress
  app(name: string): Promise<AppAnswer>
  instances(app: string): Promise<InstanceAnswer[]>
  routers(): Promise<RouterAnswer[]>
  /** For admins. */
  namingKey(app: string): Promise<string>
  operation(id: string): Promise<OperationAnswer>
  /** Starts an operation; its id, or null where there was nothing to do. */
  start(method: string, path: string, body?: unknown): Promise<string | null>
  call<T>(method: string, path: string, body?: unknown): Promise<T>
}

export function platformApi(address: ApiAddress): PlatformApi {
  const call = <T>(method: string, path: string, body?: unknown) => callApi<T>(address, method, path, body)
  const ours = '/api/coppice/v1'
  return {
    address,
    call,
    app: (name) => call('GET', `/api/2.0/apps/${name}`),
    instances: async (app) =>
      (await call<{ instances: InstanceAnswer[] }>('GET', `${ours}/apps/${app}/instances`)).instances,
    routers: async () => (await call<{ routers: RouterAnswer[] }>('GET', `${ours}/routers`)).routers,
    namingKey: async (app) => (await call<{ naming_key: string }>('GET', `${ours}/apps/${app}/naming-key`)).naming_key,
    operation: (id) => call('GET', `${ours}/operations/${id}`),
    start: async (method, path, body) => (await call<{ operation?: string }>(method, path, body)).operation ?? null,
  }
}
