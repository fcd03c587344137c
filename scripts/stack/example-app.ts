import { lookup } from 'node:dns/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ApiAddress, type ApiApp, createScaledApp, deploy, findApp, untilApp } from './client.ts'

export const EXAMPLE = { app: 'hello', source: 'examples/hello', instances: 2 } as const

const ACTIVE_TIMEOUT_MS = 60_000
const URL_TIMEOUT_MS = 30_000
const INSTANCES_TIMEOUT_MS = 15_000

export type Reached = {
  app: ApiApp
  /** Addresses of the app, the ones that resolve on this machine first. */
  urls: string[]
  /** Whether the first one answers. */
  answers: boolean
}

/** Deploys the example on two instances unless an app of its name is there, and waits until its URL answers. */
export async function ensureExample(at: ApiAddress, onProgress: (words: string) => void): Promise<Reached> {
  const found = await findApp(at, EXAMPLE.app)
  if (found === null) await createScaledApp(at, EXAMPLE.app, EXAMPLE.instances)
  const app = await untilApp(
    at,
    EXAMPLE.app,
    ({ compute_status }) => SETTLED.has(compute_status.state),
    ACTIVE_TIMEOUT_MS,
  )
  const untouched = app.active_deployment === undefined && app.pending_deployment === undefined
  // Also one that a start which was ended too early had only created. A stopped one is somebody's decision.
  if (untouched && app.compute_status.state === 'ACTIVE') {
    onProgress(`Deploying ${EXAMPLE.source} on ${EXAMPLE.instances} instances`)
    await deploy(at, EXAMPLE.app, { source_code_path: EXAMPLE.source }, (words) => onProgress(`hello: ${words}`))
  }
  return reach(at, EXAMPLE.app, onProgress)
}

/** Transient states pass by themselves; these do not. */
const SETTLED = new Set(['ACTIVE', 'STOPPED', 'ERROR', 'UPDATING'])

export async function reach(at: ApiAddress, name: string, onProgress: (words: string) => void): Promise<Reached> {
  const app = (await findApp(at, name)) as ApiApp
  const urls = await resolvableFirst(app.urls ?? [app.url])
  if (app.compute_status.state === 'STOPPED') return { app, urls, answers: false }
  onProgress(`Waiting for ${urls[0]}`)
  const answers = await untilAnswer(urls[0] as string)
  // One answers before all do, when a start brings them back. Fewer than wanted is worth saying, not worth failing.
  const all = (found: ApiApp) => (found.app_status.running_instances ?? 0) >= (found.compute_max_instances ?? 1)
  await untilApp(at, name, all, INSTANCES_TIMEOUT_MS).catch(() => {})
  return { app: (await findApp(at, name)) as ApiApp, urls, answers }
}

/**
 * `*.localhost` is loopback to curl and the browsers but for Safari, and to no resolver on many machines (RFC 6761
 * leaves it to them); a URL that is printed first must work in whatever it is pasted into.
 */
async function resolvableFirst(urls: string[]): Promise<string[]> {
  const resolved = await Promise.all(
    urls.map((url) => {
      const { hostname } = new URL(url)
      return lookup(hostname).then(
        ({ address }) => !hostname.endsWith('.localhost') || address.startsWith('127.') || address === '::1',
        () => false,
      )
    }),
  )
  return [...urls.filter((_, index) => resolved[index]), ...urls.filter((_, index) => !resolved[index])]
}

async function untilAnswer(url: string): Promise<boolean> {
  for (const end = performance.now() + URL_TIMEOUT_MS; performance.now() < end; await sleep(50)) {
    const status = await fetch(url, { signal: AbortSignal.timeout(5_000) }).then(
      async (answer) => {
        await answer.arrayBuffer()
        return answer.status
      },
      () => 0,
    )
    if (status > 0 && status < 500 && status !== 404) return true
  }
  return false
}
