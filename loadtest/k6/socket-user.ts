import { setTimeout } from 'k6/timers'
import { WebSocket } from 'k6/websockets'
import { formatAttempt } from '../history-line.ts'
import { broken, known, metrics } from './metrics.ts'
import type { Random } from './random.ts'
import type { Seen, Session } from './session.ts'
import type { Settings } from './settings.ts'

/** An echo that takes longer has been lost. */
const ECHO_TIMEOUT_MS = 5_000
const MESSAGE_EVERY_MS = 250
const HOLD_MS: [number, number] = [3_000, 6_000]
/** Going away, service restart, normal, and none given (RFC 6455 7.4): an instance or a router that says goodbye. */
const GOODBYES = /close 10(?:00|01|05|12)/
const REOPENINGS = 20

/** One session with a WebSocket that it keeps for some seconds, and opens again when the other side closes it. */
export class SocketUser {
  readonly #session: Session
  readonly #settings: Settings
  readonly #random: Random
  readonly #home: Seen
  readonly #until: number
  #reopenings = 0

  /** @param home who answered the session's first request */
  constructor(session: Session, home: Seen, settings: Settings, random: Random) {
    this.#session = session
    this.#home = home
    this.#settings = settings
    this.#random = random
    this.#until = Date.now() + random.whole(...HOLD_MS)
  }

  open(): void {
    const { urls, wsPath, history } = this.#settings
    const session = this.#session
    const router = this.#random.whole(0, urls.length - 1)
    const url = urls[router] as string
    const id = session.nextId()
    const key = session.key(url)
    const startedAt = Date.now()
    const waiting = new Map<string, number>()
    let state: 'opening' | 'open' | 'leaving' | 'closed' = 'opening'
    const record = (seen: Seen, error: string | null) => {
      if (!history) return
      const attempt = {
        startedAt,
        endedAt: Date.now(),
        client: session.client,
        key,
        newKey: null,
        router,
        id,
        error,
        stream: true,
        refusal: null,
      }
      const { instance, version } = seen
      const slot = seen.slot === null ? null : Number(seen.slot)
      const status = error === null ? 200 : 0
      console.log(
        formatAttempt({ ...attempt, kind: 'socket', method: 'GET', body: false, status, instance, slot, version }),
      )
    }
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}${wsPath.replace('{attempt}', id)}`, null, {
      headers: session.headers(url),
      tags: { name: wsPath },
    })
    const speak = () => {
      if (state !== 'open') return
      const now = Date.now()
      for (const [message, at] of waiting) {
        if (now - at < ECHO_TIMEOUT_MS) continue
        waiting.delete(message)
        broken.socket_silent.add(1)
      }
      if (now < this.#until) {
        const message = `${id}/${now}`
        waiting.set(message, now)
        socket.send(message)
      } else if (waiting.size === 0) {
        state = 'leaving'
        socket.close(1000)
        return
      }
      setTimeout(speak, MESSAGE_EVERY_MS)
    }
    socket.addEventListener('open', () => {
      state = 'open'
      metrics.socketsOpened.add(1)
      setTimeout(speak, this.#random.whole(1, MESSAGE_EVERY_MS))
    })
    let greeted = false
    socket.addEventListener('message', (event) => {
      const body = String((event as { data: unknown }).data)
      const seen = session.readMessage(body)
      if (!greeted) {
        record(seen, null)
        known.sockets_placed.add((seen.slot ?? seen.instance) !== null)
      }
      greeted = true
      // Whatever the app sends back, it has to contain what it was sent.
      for (const message of waiting.keys()) if (body.includes(message)) waiting.delete(message)
      this.compare(seen)
    })
    socket.addEventListener('error', (event) => {
      const error = String((event as { error?: unknown }).error ?? 'unknown')
      if (state === 'opening') {
        broken.socket_refused.add(1)
        record({ instance: null, slot: null, version: null }, error)
      } else if (state === 'open' && !GOODBYES.test(error)) {
        broken.socket_cut.add(1)
      }
    })
    socket.addEventListener('close', () => {
      const wasOpen = state === 'open'
      state = 'closed'
      if (!wasOpen || this.#reopenings >= REOPENINGS) return
      this.#reopenings += 1
      metrics.socketsReopened.add(1)
      setTimeout(() => this.open(), this.#random.whole(10, 500))
    })
  }

  /** Against the slot of the session: instances come and go, slots stay. */
  compare(seen: Seen): void {
    const fact = seen.slot !== null && this.#home.slot !== null ? 'slot' : 'instance'
    const [here, home] = [seen[fact], this.#home[fact]]
    if (here !== null && home !== null && here !== home) broken.socket_elsewhere.add(1)
  }
}
