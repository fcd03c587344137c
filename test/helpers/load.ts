/** A client that asks all the time and remembers every answer (open model: a slow answer does not hold the next one). */
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export type Answer = {
  method: string
  startedAt: number
  endedAt: number
  /** 0 when there was none. */
  status: number
  error: string | null
  cookies: string[]
  body: { version?: string; instance?: string; slot?: number; pid?: number }
}

export type LoadOptions = {
  /** Of the router. */
  url: string
  app: string
  /** Requests a second. */
  rate: number
  /** How long a handler takes, drawn for each request. */
  slowMs?: () => number
  method?: () => string
  /** The routing key of each request; default none, so that every request may go anywhere. */
  key?: () => string | null
  /** More headers for a request with this key, and whether that goes along as X-Routing-Key; default: it does. */
  headers?: (key: string | null) => { headers: Record<string, string>; sendKey: boolean }
  onAnswer?: (key: string | null, answer: Answer) => void
}

export class Load {
  readonly answers: Answer[] = []
  readonly #options: LoadOptions
  readonly #agent = new Agent({ keepAlive: true })
  readonly #open = new Set<Promise<void>>()
  #running = true
  #loop: Promise<void>

  constructor(options: LoadOptions) {
    this.#options = options
    this.#loop = this.#run()
  }

  /** Resolves when `count` more answers than now have come. */
  async more(count: number): Promise<void> {
    const target = this.answers.length + count
    while (this.answers.length < target) await sleep(10)
  }

  /** Ends the load and waits for what is in flight. */
  async stop(): Promise<Answer[]> {
    this.#running = false
    await this.#loop
    await Promise.all(this.#open)
    this.#agent.destroy()
    return this.answers
  }

  failures(): Answer[] {
    return this.answers.filter((answer) => answer.status !== 200)
  }

  async #run(): Promise<void> {
    const start = performance.now()
    for (let sent = 0; this.#running; ) {
      const due = Math.floor(((performance.now() - start) / 1000) * this.#options.rate)
      for (; sent < due; sent++) {
        const one: Promise<void> = this.#one().finally(() => this.#open.delete(one))
        this.#open.add(one)
      }
      await sleep(5)
    }
  }

  async #one(): Promise<void> {
    const { url, app, slowMs, method = () => 'GET', key = () => null, headers, onAnswer } = this.#options
    const chosen = method()
    const routingKey = key()
    const more = headers?.(routingKey) ?? { headers: {}, sendKey: true }
    const startedAt = Date.now()
    const answer = await ask(`${url}/?slow=${Math.round(slowMs?.() ?? 0)}`, {
      method: chosen,
      agent: this.#agent,
      host: `${app}.localhost`,
      key: more.sendKey ? routingKey : null,
      headers: more.headers,
    })
    const full = { method: chosen, startedAt, endedAt: Date.now(), ...answer }
    this.answers.push(full)
    onAnswer?.(routingKey, full)
  }
}

type Ask = { method?: string; agent?: Agent; host?: string; key?: string | null; headers?: Record<string, string> }

/** One request; never throws, so that no failure is lost. */
export function ask(
  url: string,
  options: Ask = {},
): Promise<{ status: number; error: string | null; body: Answer['body']; cookies: string[] }> {
  return new Promise((resolve) => {
    const { method = 'GET', agent, host, key = null, headers = {} } = options
    const outgoing = request(
      url,
      {
        method,
        ...(agent !== undefined && { agent }),
        headers: { ...(host !== undefined && { host }), ...(key !== null && { 'x-routing-key': key }), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('error', (error) => resolve({ status: 0, error: String(error), body: {}, cookies: [] }))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const cookies = response.headers['set-cookie'] ?? []
          resolve({ status: response.statusCode ?? 0, error: null, body: parse(text), cookies })
        })
      },
    )
    outgoing.on('error', (error) => resolve({ status: 0, error: String(error), body: {}, cookies: [] }))
    outgoing.end(method === 'POST' ? 'x=1' : undefined)
  })
}

function parse(text: string): Answer['body'] {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}
