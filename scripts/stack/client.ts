import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError } from '../../domain/errors.ts'

/** The few calls of the REST API that the scripts make, as any client would. */
export type ApiAddress = { apiUrl: string; token: string }

export type ApiApp = {
  name: string
  url: string
  urls?: string[]
  /** Of a scaled app. */
  compute_max_instances?: number
  compute_status: { state: string; message: string }
  app_status: { state: string; message: string; running_instances?: number }
  active_deployment?: { deployment_id: string }
  pending_deployment?: { deployment_id: string }
}

export type ApiDeployment = {
  deployment_id: string
  operation?: string
  status: { state: 'CANCELLED' | 'FAILED' | 'IN_PROGRESS' | 'SUCCEEDED'; message: string }
}

export type ApiInstance = { id: string; slot: number; role: string; state: string; pid?: number; deployment_id: string }

type ApiOperation = { steps: { words: string; state: string }[] }

const POLL_MS = 50

export class ApiRefused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.name = 'ApiRefused'
    this.status = status
  }
}

export async function callApi<T>(at: ApiAddress, method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`${at.apiUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${at.token}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(30_000),
  })
  const text = await answer.text()
  if (!answer.ok) throw new ApiRefused(answer.status, messageOf(text))
  return JSON.parse(text) as T
}

/** Null when there is none of that name. */
export async function findApp(at: ApiAddress, name: string): Promise<ApiApp | null> {
  try {
    return await callApi<ApiApp>(at, 'GET', `/api/2.0/apps/${name}`)
  } catch (error) {
    if (error instanceof ApiRefused && error.status === 404) return null
    throw error
  }
}

export function createScaledApp(at: ApiAddress, name: string, instances: number): Promise<ApiApp> {
  const count = { compute_min_instances: instances, compute_max_instances: instances }
  return callApi<ApiApp>(at, 'POST', '/api/2.0/apps', { name, ...count })
}

/** Deploys and waits; tells each step in the words of the operation. Throws with what the deployment says. */
export async function deploy(
  at: ApiAddress,
  app: string,
  request: { source_code_path: string; env_vars?: { name: string; value: string }[] },
  onProgress: (words: string) => void = () => {},
): Promise<string> {
  const { deployment_id, operation } = await callApi<ApiDeployment>(
    at,
    'POST',
    `/api/2.0/apps/${app}/deployments`,
    request,
  )
  for (let told = ''; ; await sleep(POLL_MS)) {
    const { status } = await callApi<ApiDeployment>(at, 'GET', `/api/2.0/apps/${app}/deployments/${deployment_id}`)
    if (status.state === 'SUCCEEDED') return deployment_id
    if (status.state !== 'IN_PROGRESS') {
      throw new CoppiceError('BuildFailed', `the deployment of ${app} ended as ${status.state}: ${status.message}`)
    }
    const words = operation === undefined ? undefined : await currentStep(at, operation)
    if (words !== undefined && words !== told) onProgress(words)
    told = words ?? told
  }
}

export async function untilApp(
  at: ApiAddress,
  name: string,
  holds: (app: ApiApp) => boolean,
  timeoutMs: number,
): Promise<ApiApp> {
  for (const end = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
    const app = await callApi<ApiApp>(at, 'GET', `/api/2.0/apps/${name}`)
    if (holds(app)) return app
    if (performance.now() < end) continue
    const { compute_status, app_status } = app
    throw new Error(`app ${name} is ${compute_status.state} after ${timeoutMs / 1000} s: ${app_status.message}`)
  }
}

async function currentStep(at: ApiAddress, operation: string): Promise<string | undefined> {
  const { steps } = await callApi<ApiOperation>(at, 'GET', `/api/coppice/v1/operations/${operation}`)
  return steps.filter((step) => step.state === 'running').at(-1)?.words
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text
  } catch {
    return text
  }
}
