/** The platform's API, as the CLI uses it. */
import { isIP } from 'node:net'
import { Readable } from 'node:stream'
import { TextDecoderStream } from 'node:stream/web'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import { Agent, type Dispatcher, EnvHttpProxyAgent, fetch, type RequestInit, type Response } from 'undici'
import { CoppiceError, type ErrorCode, isErrorCode } from '../domain/errors.ts'
import { ApiError, Unreachable } from './failure.ts'
import type { Settings } from './settings.ts'

export type AppAnswer = {
  name: string
  description: string
  url: string
  urls: string[]
  mode: 'standard' | 'scaled'
  compute_min_instances?: number
  health_check: { path?: string; timeout: string; silence_timeout: string }
  compute_size: string
  compute_limits: { limits: 'enforced' | 'advisory'; instance: { vcpus: number; memory_gb: number } }
  compute_status: { state: string; message: string; active_instances: number }
  app_status: { state: string; message: string; running_instances: number }
  active_deployment?: DeploymentAnswer
  pending_deployment?: DeploymentAnswer
  create_time: string
  update_time: string
  /** The operation that was started, or that runs. */
  operation?: string
}

export type DeploymentAnswer = {
  deployment_id: string
  source_code_path?: string
  source_digest?: string
  status: { state: string; message: string }
  create_time: string
  operation: string
}

export type StepAnswer = {
  step: string
  words: string
  state: string
  detail: string
  start_time: string
  duration_ms?: number
}

export type FailureAnswer = {
  code: ErrorCode
  /** With what to do about it. */
  message: string
  step?: string
  field?: string
  log_lines?: string[]
  undo_failures?: string[]
}

export type OperationAnswer = {
  id: string
  app: string
  type: string
  state: string
  phase: string
  started_by: string
  request_time: string
  end_time?: string
  failure?: FailureAnswer
  steps?: StepAnswer[]
}

export type InstanceAnswer = {
  id: string
  slot: number
  role: string
  state: string
  crashes: number
  address?: string
  message?: string
  start_time?: string
}

export type UpdateAnswer = {
  compute_min_instances?: number
  status: { state: string; message: string }
  operation?: string
  dry_run?: {
    operation?: string
    instances?: { add: number; keep: number; remove: number }
    sessions: { total: number; moved: number }
  }
}

export type SessionsAnswer = { sessions: number; slots: Array<{ slot: number; instance: string; sessions: number }> }

export type RebalanceAnswer = { epoch: number; at_most: number; moved: number }

export type WorkspaceAnswer = {
  settings: { horizontal_scaling: boolean; max_scaled_apps: number; max_instances_per_app: number }
  use: {
    scaled_apps: number
    instances: number
    vcpus: number
    memory_gb: number
    instance_hours: number
    vcpu_hours: number
  }
  compute_sizes: Record<string, { vcpus: number; memory_gb: number }>
  compute_limits: 'enforced' | 'advisory'
}

export type TokenAnswer = { name: string; role: string; create_time: string; created_by: string }

export type ServerEvent = { id: string; event: string; data: unknown }

const PAGE_SIZE = 100

export class Api {
  readonly #settings: Settings
  readonly #dispatcher: Dispatcher

  constructor(settings: Settings) {
    this.#settings = settings
    // Event streams are silent for at most 2 s; an operation's answer may wait 10 s for Temporal. Uploads may be long.
    const timeouts = { headersTimeout: 120_000, bodyTimeout: 30_000 }
    // What is on this machine is never asked for through a proxy (DESIGN D15).
    this.#dispatcher = isLoopback(settings.apiUrl) ? new Agent(timeouts) : new EnvHttpProxyAgent(timeouts)
  }

  /** @throws ApiError, Unreachable, this one also when `signal` is aborted before there is an answer */
  async call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const response = await this.#send(path, {
      method,
      ...(signal !== undefined && { signal }),
      ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    return (await response.json()) as T
  }

  /** `call`, with null for what does not exist. */
  async find<T>(path: string): Promise<T | null> {
    return this.call<T>('GET', path).catch((error: unknown) => {
      if (error instanceof ApiError && error.code === 'NotFound') return null
      throw error
    })
  }

  /** Of a list that comes in pages, which also end where they have grown large: all of it, or the first `most`. */
  async list<T>(
    path: string,
    field: string,
    { most = Number.POSITIVE_INFINITY, query = {} }: { most?: number; query?: Record<string, string> } = {},
  ): Promise<T[]> {
    const found: T[] = []
    for (let token: string | undefined = ''; token !== undefined && found.length < most; ) {
      const page_size = String(Math.min(most - found.length, PAGE_SIZE))
      const asked = new URLSearchParams({ ...query, page_size, page_token: token })
      const page: { next_page_token?: string } & Record<string, unknown> = await this.call('GET', `${path}?${asked}`)
      found.push(...(page[field] as T[]))
      token = page.next_page_token
    }
    return found
  }

  /** Sends a packed source. What `bytes` throws (a file that is refused) comes out as it is. */
  async upload(bytes: AsyncIterable<Buffer>): Promise<{ digest: string; files: number; bytes: number }> {
    const response = await this.#send('/api/coppice/v1/sources', {
      method: 'POST',
      body: Readable.from(bytes),
      duplex: 'half',
      headers: { 'content-type': 'application/gzip' },
    })
    return (await response.json()) as { digest: string; files: number; bytes: number }
  }

  /** A stream of server-sent events, until the connection ends or the signal is aborted. */
  async *events(path: string, options: { signal: AbortSignal; lastId?: string }): AsyncGenerator<ServerEvent> {
    const response = await this.#send(path, {
      signal: options.signal,
      headers: {
        accept: 'text/event-stream',
        ...(options.lastId !== undefined && { 'last-event-id': options.lastId }),
      },
    })
    if (response.body === null) return
    const events = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream({ maxBufferSize: 16 * 1024 * 1024 }))
    try {
      for await (const { id, event, data } of events) {
        // The stream has failed: it says why instead of what comes next.
        const failed = event === 'error' ? refusalOf(500, parse(data)) : null
        if (failed !== null) throw failed
        yield { id: id ?? '', event: event ?? 'message', data: JSON.parse(data) }
      }
    } catch (error) {
      if (error instanceof ApiError) throw error
      if (!options.signal.aborted) throw this.#unreachable(error)
    }
  }

  close(): Promise<void> {
    return this.#dispatcher.destroy()
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const { apiUrl, token, home } = this.#settings
    if (token === null)
      throw new CoppiceError('Unauthenticated', `There is no token: ${home}/token does not exist`, { field: 'token' })
    let response: Response
    try {
      response = await fetch(apiUrl + path, {
        ...init,
        dispatcher: this.#dispatcher,
        headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` },
      })
    } catch (error) {
      const cause = (error as Error).cause
      if (cause instanceof CoppiceError) throw cause
      throw this.#unreachable(error)
    }
    if (response.ok) return response
    throw await refusal(response, apiUrl)
  }

  #unreachable(error: unknown): Error {
    const { cause, name } = error as Error
    const reason =
      (name === 'TimeoutError' ? 'it takes the connection and does not answer' : undefined) ??
      (cause as NodeJS.ErrnoException | undefined)?.code ??
      (cause as Error | undefined)?.message ??
      String(error)
    return new Unreachable(
      `The API at ${this.#settings.apiUrl} cannot be reached (${reason})`,
      'Start the platform (coppice up), name another one (--api-url, COPPICE_API_URL), or ask: coppice doctor.',
      { cause: error },
    )
  }
}

async function refusal(response: Response, apiUrl: string): Promise<Error> {
  const text = await response.text()
  return (
    refusalOf(response.status, parse(text)) ??
    new Unreachable(
      `${apiUrl} answered ${response.status} and is not a Coppice API: ${text.slice(0, 200)}`,
      'Check --api-url and COPPICE_API_URL.',
    )
  )
}

/** Null when the body is none of this API. */
function refusalOf(status: number, body: unknown): ApiError | null {
  const own = (body as { coppice?: Record<string, unknown> } | null)?.coppice
  if (own === undefined || !isErrorCode(own.code)) return null
  const field = own.field === undefined ? undefined : String(own.field)
  return new ApiError(status, own.code, String(own.message), String(own.hint), field)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isLoopback(url: string): boolean {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '')
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
