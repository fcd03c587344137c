import http, { type CookieJar, type RefinedParams, type RefinedResponse, type ResponseType } from 'k6/http'
import { NAMING_KEY_HEADER } from '../../domain/served-by.ts'
import { formatAttempt, isRepeatable } from '../history-line.ts'
import { type Answer, isGuarded, isInHeaders, keyAmong, type Reader, readerOf } from './identity.ts'
import { broken, known, metrics } from './metrics.ts'
import type { Random } from './random.ts'
import { NAMED_BY_APP, type Settings } from './settings.ts'

export type Kind = 'browser' | 'cookie' | 'header'

/** Who answered. */
export type Seen = { instance: string | null; slot: string | null; version: string | null }

type Prepared = {
  id: string
  method: string
  url: string
  body: string | null
  stream: boolean
  router: number
  key: string | null
  params: RefinedParams<ResponseType>
}

type Readers = { [fact in keyof Seen]: Reader }

/** What is not drawn at random. */
type Asked = {
  method?: string
  body?: string
  path?: string
  /** The answer takes its time, so that it may have begun when its instance dies: then nobody can repeat it. */
  stream?: boolean
}

/** What a session had seen when a request of it began: answers that come at the same time know nothing of each other. */
type Known = { home: string | null; versions: string[] }

/** What a virtual user needs to ask and to tell. */
export type Surroundings = {
  settings: Settings
  random: Random
  vu: number
  /** Whether the scenario leaves every session where it is: a move is then a broken promise. */
  steady: boolean
}

const TIMEOUT = '60s'
/** Nobody had the request, so that another instance could have. */
const REFUSED = 503
/** Only the answers that a router of ours gives itself have it. */
const refusalOf = readerOf('header:X-Coppice-Router')

/** One user from the first request to the last: it knows its key and where it was answered. */
export class Session {
  readonly client: string
  readonly kind: Kind
  readonly #with: Surroundings
  readonly #readers: Readers
  /** Of a WebSocket, of whose handshake k6 does not show the headers: there it is the app that has to say it. */
  readonly #ofMessages: Readers
  readonly #jar: CookieJar
  readonly #ownKey: string | null
  /** Where it was answered last, and by which versions so far, the newest last. */
  #home: string | null = null
  #versions: string[] = []
  #sent = 0

  constructor(kind: Kind, generation: number, surroundings: Surroundings) {
    const { settings, random, vu } = surroundings
    this.kind = kind
    this.client = `${vu}.${generation}`
    this.#with = surroundings
    const places = { instance: settings.instanceAt, slot: settings.slotAt, version: settings.versionAt }
    const reader = (fact: keyof Seen) => readerOf(places[fact])
    const ofMessages = (fact: keyof Seen) => readerOf(isInHeaders(places[fact]) ? NAMED_BY_APP[fact] : places[fact])
    this.#readers = { instance: reader('instance'), slot: reader('slot'), version: reader('version') }
    this.#ofMessages = { instance: ofMessages('instance'), slot: ofMessages('slot'), version: ofMessages('version') }
    this.#jar = new http.CookieJar()
    this.#ownKey = kind === 'browser' ? null : random.uuid()
  }

  /** The key that a request to this URL would carry. */
  key(url: string): string | null {
    if (this.#ownKey !== null) return this.#ownKey
    const cookies: Record<string, string> = {}
    const held = this.#jar.cookiesForURL(`${url}/`)
    for (const name in held) cookies[name] = held[name]?.[0] as string
    return keyAmong(cookies, this.#with.settings.cookieNames)
  }

  /** Headers that make a request one of this session, for what does not use its cookie jar. */
  headers(url: string): Record<string, string> {
    const { settings } = this.#with
    const key = this.key(url)
    return {
      ...this.#plainHeaders(),
      ...(key !== null &&
        (this.kind === 'header' ? { [settings.keyHeader]: key } : { Cookie: this.#cookie(url, key) })),
    }
  }

  /** The next attempt's id. */
  nextId(): string {
    const { settings, vu } = this.#with
    this.#sent += 1
    return `${settings.seed.toString(36)}.${vu}.${this.client.split('.')[1]}.${this.#sent}`
  }

  /** What a message of a WebSocket says about who sent it. */
  readMessage(body: string): Seen {
    return read(this.#ofMessages, { body, headers: {} })
  }

  /** One request; null where it got no good answer. */
  ask(more: Asked = {}): Seen | null {
    const one = this.#prepare(more)
    const startedAt = Date.now()
    const response = http.request(one.method, one.url, one.body, one.params)
    return this.#tell(one, response, { startedAt, endedAt: Date.now(), before: this.#known() })
  }

  /** Several at once, as a browser does; none of them can know what another was answered. */
  askTogether(count: number): void {
    const all = Array.from({ length: count }, () => this.#prepare({}))
    const before = this.#known()
    const startedAt = Date.now()
    const responses = http.batch(all.map(({ method, url, body, params }) => ({ method, url, body, params })))
    const now = Date.now()
    all.forEach((one, index) => {
      const response = responses[index] as RefinedResponse<ResponseType>
      const { blocked, connecting, tls_handshaking, duration } = response.timings
      const took = Math.ceil(blocked + connecting + tls_handshaking + duration)
      // Without an answer the timings are not there.
      const endedAt = response.status === 0 ? now : Math.min(now, startedAt + took)
      this.#tell(one, response, { startedAt, endedAt, before })
    })
  }

  #prepare({ method, body, path, stream = false }: Asked): Prepared {
    const { settings, random } = this.#with
    const id = this.nextId()
    const router = random.whole(0, settings.urls.length - 1)
    const url = settings.urls[router] as string
    const chosen = method ?? random.pick(settings.methods)
    const withBody = chosen === 'POST' || chosen === 'PATCH' || (chosen === 'PUT' && random.number() < 0.5)
    const slow = random.number() < settings.slowShare ? random.whole(...settings.slowMs) : 0
    const target = (path ?? settings.path).replace('{slow}', String(slow)).replace('{attempt}', id)
    const key = this.key(url)
    // A client that chooses its key keeps no cookies: whatever comes with an answer must not change what it sends.
    const own = this.#ownKey !== null
    const headers = own ? this.headers(url) : this.#plainHeaders()
    return {
      id,
      method: chosen,
      url: url + target,
      body: body ?? (withBody ? 'x=1' : null),
      stream,
      router,
      key,
      // The name keeps k6 from making a metric of each attempt.
      params: {
        headers,
        timeout: TIMEOUT,
        redirects: 0,
        jar: own ? new http.CookieJar() : this.#jar,
        tags: { name: path ?? settings.path },
      },
    }
  }

  #plainHeaders(): Record<string, string> {
    const { settings } = this.#with
    return {
      ...settings.headers,
      ...(settings.host !== null && { Host: settings.host }),
      ...(settings.token !== null && { Authorization: `Bearer ${settings.token}` }),
      ...(settings.namingKey !== null && { [NAMING_KEY_HEADER]: settings.namingKey }),
    }
  }

  #cookie(url: string, key: string): string {
    const { settings } = this.#with
    const held = this.#jar.cookiesForURL(`${url}/`)
    const pairs = Object.keys(held).map((name) => `${name}=${held[name]?.[0]}`)
    return this.#ownKey === null ? pairs.join('; ') : `${settings.cookieNames[0]}=${key}`
  }

  #tell(
    one: Prepared,
    response: RefinedResponse<ResponseType>,
    { startedAt, endedAt, before }: { startedAt: number; endedAt: number; before: Known },
  ): Seen | null {
    const { settings, steady } = this.#with
    const good = response.status >= 200 && response.status < 400
    const seen = good
      ? read(this.#readers, { body: String(response.body ?? ''), headers: response.headers })
      : { instance: null, slot: null, version: null }
    const newKey = this.#newKey(response)
    if (settings.history) {
      console.log(
        formatAttempt({
          startedAt,
          endedAt,
          kind: this.kind,
          client: this.client,
          key: one.key,
          newKey,
          method: one.method,
          body: one.body !== null,
          status: response.status,
          instance: seen.instance,
          slot: seen.slot === null ? null : Number(seen.slot),
          version: seen.version,
          id: one.id,
          router: one.router,
          error: response.error || (good ? null : String(response.body).slice(0, 80)),
          stream: one.stream,
          refusal: refusalOf({ body: '', headers: response.headers }),
        }),
      )
    }
    const tags = { instance: seen.instance ?? 'none', version: seen.version ?? 'none', method: one.method }
    metrics.requests.add(1, tags)
    if (!good) {
      metrics.errors.add(1, tags)
      if (response.status === REFUSED) broken.refused.add(1)
      const repeatable = isRepeatable({ method: one.method, body: one.body !== null })
      broken[one.stream ? 'stream_cut' : repeatable ? 'lost_repeatable' : 'lost_other'].add(1)
      return null
    }
    metrics.requestMs.add(endedAt - startedAt)
    known.answers_placed.add((seen.slot ?? seen.instance) !== null)
    known.answers_versioned.add(seen.version !== null)
    if (this.#ownKey !== null && newKey !== null) broken.key_replaced.add(1)
    // Affinity counts from the requests that were sent with a key.
    if (one.key !== null) this.#compare(seen, before.home, endedAt - startedAt, steady)
    else if (newKey !== null) this.#home = seen.slot ?? seen.instance
    this.#age(seen.version, before.versions)
    return seen
  }

  #compare(seen: Seen, home: string | null, tookMs: number, steady: boolean): void {
    const here = seen.slot ?? seen.instance
    if (here === null) return
    if (home !== null && here !== home) {
      metrics.sessionsMoved.add(1)
      metrics.failoverMs.add(tookMs)
      if (steady) broken.affinity_broken.add(1)
    }
    this.#home = here
  }

  #known(): Known {
    return { home: this.#home, versions: [...this.#versions] }
  }

  /** Versions come one after the other: one after which another was known when the request began must not come back. */
  #age(version: string | null, known: string[]): void {
    if (version === null) return
    const at = known.indexOf(version)
    if (at !== -1 && at < known.length - 1) broken.old_version_after_new.add(1)
    if (!this.#versions.includes(version)) this.#versions.push(version)
  }

  /** The key that came with an answer, whether or not the jar takes it (it refuses Secure cookies on plain http). */
  #newKey(response: RefinedResponse<ResponseType>): string | null {
    const cookies: Record<string, string> = {}
    for (const name in response.cookies) cookies[name] = response.cookies[name]?.[0]?.value as string
    for (const name of this.#with.settings.cookieNames) {
      if (name in cookies && !isGuarded(response.headers['Set-Cookie'] ?? '', name)) broken.cookie_unguarded.add(1)
    }
    return keyAmong(cookies, this.#with.settings.cookieNames)
  }
}

const read = ({ instance, slot, version }: Readers, answer: Answer): Seen => ({
  instance: instance(answer),
  slot: slot(answer),
  version: version(answer),
})
