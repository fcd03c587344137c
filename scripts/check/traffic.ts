import { randomUUID } from 'node:crypto'
import { ROUTER_COOKIE } from '../../domain/product.ts'

/** Clients as they come: what they saw of the example app, and every request that failed. */

/** What `examples/hello` says of itself. */
export type Seen = { instance: string; slot: number; deployment: string; version: string; pid: number }

/** As a browser does: keeps the cookies that it is given. */
export class BrowserLike {
  readonly #url: string
  #cookies = new Map<string, string>()

  constructor(url: string) {
    this.#url = url
  }

  async get(): Promise<Seen> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(this.#url, { headers: cookie === '' ? {} : { cookie } })
    for (const line of answer.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      const at = pair.indexOf('=')
      this.#cookies.set(pair.slice(0, at).trim(), pair.slice(at + 1).trim())
    }
    return (await answer.json()) as Seen
  }

  get cookieNames(): string[] {
    return [...this.#cookies.keys()]
  }
}

/** An API client that sends a key of its own choice (R7.2). */
export async function askWithKey(url: string, key: string): Promise<Seen> {
  const answer = await fetch(url, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
  return (await answer.json()) as Seen
}

export type LoadResult = {
  requests: number
  /** Sentences, one a failed request. */
  failures: string[]
  /** Requests that were answered by an old version although their client had seen the new one. */
  stepsBack: number
  instances: Set<string>
}

export type Load = { stop(): Promise<LoadResult> }

/** Handlers that take no time hide what is lost in flight. */
const SLOWEST_MS = 300

/** Clients that ask one request after the other, each with its own key, with methods and durations at random. */
export function startLoad(url: string, options: { clients: number; methods: string[] }): Load {
  const result: LoadResult = { requests: 0, failures: [], stepsBack: 0, instances: new Set() }
  let stopped = false
  const client = async () => {
    const key = randomUUID()
    let newest = 0
    while (!stopped) {
      const method = options.methods[Math.floor(Math.random() * options.methods.length)] as string
      const target = `${url}/?slow=${Math.floor(Math.random() * SLOWEST_MS)}`
      result.requests++
      try {
        const answer = await fetch(target, { method, headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
        const text = await answer.text()
        if (answer.status !== 200) {
          result.failures.push(`${method} was answered ${answer.status}: ${text.slice(0, 120)}`)
          continue
        }
        const seen = JSON.parse(text) as Seen
        result.instances.add(seen.instance)
        const version = Number(seen.version)
        if (version < newest) result.stepsBack++
        newest = Math.max(newest, version)
      } catch (error) {
        const { cause } = error as { cause?: { code?: string } }
        result.failures.push(`${method} failed: ${cause?.code ?? (error as Error).message}`)
      }
    }
  }
  const clients = Array.from({ length: options.clients }, client)
  return {
    stop: async () => {
      stopped = true
      await Promise.all(clients)
      return result
    },
  }
}
