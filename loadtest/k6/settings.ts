import { withoutTrailing } from '../../domain/trailing.ts'

/**
 * What a script can be told with `k6 run -e NAME=value`. Every one but APP_URL has a default, chosen for an app that
 * we know nothing about: GET only, no slow handlers, nothing but its URL.
 */
export type Settings = {
  /** APP_URL: where the app is; several, separated by commas, are used in turn (routers of one app). */
  urls: string[]
  /** APP_HOST: a Host header of its own, for URLs that are addresses. */
  host: string | null
  /** APP_PATH (/): `{slow}` becomes how long the handler shall take in ms, `{attempt}` the id of the attempt. */
  path: string
  /** WS_PATH (/): of the WebSocket. */
  wsPath: string
  /** SSE_PATH: of a stream of server-sent events that ends by itself; without it none is asked for. */
  ssePath: string | null
  /** UPLOAD_BYTES (0): size of an upload beside a WebSocket; 0 for none. */
  uploadBytes: number
  /** METHODS (GET): drawn at random; name one twice to have it twice as often. POST and half of the PUTs have a body. */
  methods: string[]
  /** SLOW_SHARE (0): which part of the requests asks for a slow handler, 0 to 1. */
  slowShare: number
  /** SLOW_MS (200-400): how slow. */
  slowMs: [number, number]
  /** RATE (20): requests a second; of sockets, sessions started in 5 s. */
  rate: number
  /** DURATION (30s). */
  durationMs: number
  /** SEED (drawn): the same one gives the same traffic. */
  seed: number
  /** VUS: virtual users; default enough for requests that take 2 s each. */
  vus: number | null
  /** CLIENTS (browser:5,cookie:3,header:2): shares of the kinds of clients. */
  clients: { browser: number; cookie: number; header: number }
  /** NEWCOMERS (0): which part of the browsers' visits is by somebody who was never there and never returns, 0 to 1. */
  newcomers: number
  /** TOKEN: sent as `Authorization: Bearer`. */
  token: string | null
  /** HEADERS: a JSON object of more headers. */
  headers: Record<string, string>
  /** COOKIE_NAME: names of the routing cookie, the first that is there counts; a `*` at the end stands for anything. */
  cookieNames: string[]
  /** KEY_HEADER (X-Routing-Key): empty for platforms without one. */
  keyHeader: string
  /**
   * NAMING_KEY: of an app behind our routers; with it in a request they say in `X-Served-By` who answers. It is a secret:
   * in the environment of k6 nobody else sees it.
   */
  namingKey: string | null
  /**
   * INSTANCE_AT (json:instance, with NAMING_KEY served-by:instance): where an answer says which instance it is of:
   * `json:path`, `header:Name`, `regex:…(…)`, `served-by:instance`.
   */
  instanceAt: string
  /** SLOT_AT (json:slot, with NAMING_KEY served-by:slot): likewise, what stays the same when an instance is replaced. */
  slotAt: string
  /** VERSION_AT (json:version, with NAMING_KEY served-by:deployment): likewise. */
  versionAt: string
  /** CONTROL_URL: asked after DURATION whether to go on; the runner's. */
  controlUrl: string | null
  /** HISTORY: write a line for each attempt; the runner's. */
  history: boolean
  /** SUMMARY: file for k6's summary as JSON. */
  summary: string | null
}

type Env = Record<string, string | undefined>

export const DEFAULT_COOKIES = '__Host-databricks-app-router,coppice-router-*'

/** Where answers say who gave them, unless they are told to say it elsewhere. */
export const NAMED_BY_APP = { instance: 'json:instance', slot: 'json:slot', version: 'json:version' } as const
const NAMED_BY_ROUTER = {
  instance: 'served-by:instance',
  slot: 'served-by:slot',
  version: 'served-by:deployment',
} as const

/** @throws Error that names the variable */
export function readSettings(env: Env, drawSeed: () => number = () => Math.floor(Math.random() * 1e9)): Settings {
  const text = (name: string, fallback: string): string => env[name] ?? fallback
  const number = (name: string, fallback: number): number => {
    const value = Number(env[name] ?? fallback)
    if (!(value >= 0)) throw new Error(`${name}: "${env[name]}" is not a number`)
    return value
  }
  const urls = list(text('APP_URL', ''))
  if (urls.length === 0)
    throw new Error('APP_URL is missing: k6 run -e APP_URL=https://my-app.example loadtest/affinity.ts')
  for (const url of urls) if (!/^https?:\/\/[^/]+/.test(url)) throw new Error(`APP_URL: "${url}" is not an http URL`)
  const slow = text('SLOW_MS', '200-400').split('-').map(Number)
  const namingKey = env.NAMING_KEY || null
  const namedBy = namingKey === null ? NAMED_BY_APP : NAMED_BY_ROUTER
  return {
    urls: urls.map((url) => withoutTrailing(url, '/')),
    host: env.APP_HOST || null,
    path: text('APP_PATH', '/'),
    wsPath: text('WS_PATH', '/'),
    ssePath: env.SSE_PATH || null,
    uploadBytes: number('UPLOAD_BYTES', 0),
    methods: list(text('METHODS', 'GET')).map((method) => method.toUpperCase()),
    slowShare: number('SLOW_SHARE', 0),
    slowMs: [slow[0] ?? 200, slow[1] ?? slow[0] ?? 200],
    rate: number('RATE', 20),
    durationMs: readDuration('DURATION', text('DURATION', '30s')),
    seed: number('SEED', drawSeed()),
    vus: env.VUS ? number('VUS', 0) : null,
    clients: readShares(text('CLIENTS', 'browser:5,cookie:3,header:2')),
    newcomers: number('NEWCOMERS', 0),
    token: env.TOKEN || null,
    headers: JSON.parse(text('HEADERS', '{}')) as Record<string, string>,
    cookieNames: list(text('COOKIE_NAME', DEFAULT_COOKIES)),
    keyHeader: text('KEY_HEADER', 'X-Routing-Key'),
    namingKey,
    instanceAt: text('INSTANCE_AT', namedBy.instance),
    slotAt: text('SLOT_AT', namedBy.slot),
    versionAt: text('VERSION_AT', namedBy.version),
    controlUrl: env.CONTROL_URL || null,
    history: env.HISTORY === '1',
    summary: env.SUMMARY || null,
  }
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** `90s`, `2m`, `1m30s` → ms */
export function readDuration(name: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)]
  const total = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit as string] as number), 0)
  if (total <= 0 || parts.map(([part]) => part).join('') !== text) {
    throw new Error(`${name}: "${text}" is not a duration like 30s or 1m30s`)
  }
  return total
}

function readShares(text: string): Settings['clients'] {
  const shares = { browser: 0, cookie: 0, header: 0 }
  for (const part of list(text)) {
    const [kind = '', share = '1'] = part.split(':')
    if (!(kind in shares) || !(Number(share) >= 0)) {
      throw new Error(`CLIENTS: "${part}" is not browser:n, cookie:n or header:n`)
    }
    shares[kind as keyof typeof shares] = Number(share)
  }
  return shares
}
