import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { getCACertificates } from 'node:tls'
import { EnvHttpProxyAgent, fetch, type RequestInit } from 'undici'
import { proxySettings } from './proxy.ts'

/** A host that does not answer must not hold up the next source: people without a way out are the normal case. */
const CONNECT_TIMEOUT_MS = 8_000
/** A download that brings nothing for this long is given up. */
const STALL_TIMEOUT_MS = 30_000

export type Download = {
  url: string
  /** Where the bytes go. */
  file: string
  /** Hex; null takes what comes (only ever for what another checksum vouches for). */
  sha256: string | null
  /** For its proxy variables. */
  env: NodeJS.ProcessEnv
  /** How far it is, at most every second. */
  onDetail?: (words: string) => void
}

/** Throws with a sentence that names the host and the reason. */
export async function downloadFile(download: Download): Promise<void> {
  await mkdir(dirname(download.file), { recursive: true })
  const response = await get(download.url, download.env)
  const total = Number(response.headers.get('content-length') ?? 0)
  const hash = createHash('sha256')
  let bytes = 0
  let told = Date.now()
  const watch = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      bytes += chunk.length
      if (Date.now() - told > 1_000) {
        told = Date.now()
        download.onDetail?.(`${megabytes(bytes)}${total > 0 ? ` of ${megabytes(total)}` : ''} MB`)
      }
      done(null, chunk)
    },
  })
  if (response.body === null) throw new Error(`${hostOf(download.url)} sent no body`)
  await pipeline(Readable.fromWeb(response.body), watch, createWriteStream(download.file))
  const found = hash.digest('hex')
  if (download.sha256 !== null && found !== download.sha256) {
    throw new Error(`the checksum of ${download.url} is ${found}, not ${download.sha256}: refused`)
  }
}

export async function downloadText(
  url: string,
  env: NodeJS.ProcessEnv,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await get(url, env, headers)
  return { text: await response.text(), type: response.headers.get('content-type') ?? '', url: response.url }
}

export type Answer = {
  text: string
  type: string
  /** After redirects; relative links are relative to this. */
  url: string
}

async function get(url: string, env: NodeJS.ProcessEnv, headers: Record<string, string> = {}) {
  const target = new URL(url)
  const credentials = target.username === '' ? undefined : `${target.username}:${target.password}`
  target.username = ''
  target.password = ''
  // Networks that look into TLS have their own authority in the machine's store, which Node does not read by itself.
  const ca = [...getCACertificates('default'), ...getCACertificates('system')]
  const init: RequestInit = {
    headers: {
      ...headers,
      // fetch refuses credentials in an address, where pip's settings have them.
      ...(credentials && { authorization: `Basic ${Buffer.from(decodeURIComponent(credentials)).toString('base64')}` }),
    },
    dispatcher: new EnvHttpProxyAgent({
      ...proxySettings(env),
      connect: { timeout: CONNECT_TIMEOUT_MS, ca },
      requestTls: { ca },
      headersTimeout: STALL_TIMEOUT_MS,
      bodyTimeout: STALL_TIMEOUT_MS,
    }),
  }
  let response: Awaited<ReturnType<typeof fetch>>
  try {
    response = await fetch(target, init)
  } catch (error) {
    throw new Error(`${target.host} cannot be reached (${reason(error)})`)
  }
  if (!response.ok) throw new Error(`${target.host} answered ${response.status} for ${target.pathname}`)
  return response
}

function reason(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause
  return cause?.code ?? cause?.message ?? String(error)
}

const hostOf = (url: string): string => new URL(url).host
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0)
