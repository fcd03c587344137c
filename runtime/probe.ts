import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'

/** What one question to an app came to. */
export type Answer =
  | { kind: 'status'; status: number }
  /** Nobody took the connection. */
  | { kind: 'refused' }
  /** The connection was taken, but no answer came in time, or none that is HTTP. */
  | { kind: 'noAnswer'; why: string }

/** Never throws. `timeLimitMs` bounds the whole of it. */
export type Ask = (options: {
  address: string
  path: string
  timeLimitMs: number
  signal: AbortSignal
}) => Promise<Answer>

/** An answer counts with its head; this much longer, in ms, the app may take to send its body before we hang up. */
const BODY_MS = 1_000

/** A connection each: an app that closes idle ones must not look ill. */
export const askHttp: Ask = ({ address, path, timeLimitMs, signal }) => {
  const { hostname, port } = new URL(`http://${address}`)
  return new Promise((resolve) => {
    const agent = new Agent({ keepAlive: false })
    let connected = false
    const asked = request({
      agent,
      host: hostname.replace(/^\[|\]$/g, ''),
      port,
      path,
      headers: { 'user-agent': 'coppice-health', accept: '*/*' },
      signal,
    })
    const limit = setTimeout(() => asked.destroy(new Error(`no answer within ${timeLimitMs} ms`)), timeLimitMs)
    asked.once('socket', (socket) => socket.once('connect', () => (connected = true)))
    asked.once('response', (response) => {
      clearTimeout(limit)
      const patience = setTimeout(() => response.destroy(), BODY_MS).unref()
      response.once('close', () => clearTimeout(patience))
      response.on('error', () => undefined)
      response.resume()
      resolve({ kind: 'status', status: response.statusCode ?? 0 })
    })
    asked.on('error', (error) => {
      clearTimeout(limit)
      resolve(connected ? { kind: 'noAnswer', why: error.message } : { kind: 'refused' })
    })
    asked.end()
  })
}

export type CanConnect = (host: string, port: number) => Promise<boolean>

export const canConnect: CanConnect = (host, port) =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 })
    const done = (result: boolean) => {
      socket.destroy()
      resolve(result)
    }
    socket.once('connect', () => done(true))
    socket.once('timeout', () => done(false))
    socket.once('error', () => done(false))
  })

/**
 * A host at which a socket on 0.0.0.0 is reached and one on 127.0.0.1 is not (DESIGN D12). Linux has all of
 * 127.0.0.0/8, elsewhere it takes an address of the machine; null where there is none.
 */
export function beyondLoopback(platform: NodeJS.Platform = process.platform): string | null {
  if (platform === 'linux') return '127.0.0.2'
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? [])
  return addresses.find((found) => found.family === 'IPv4' && !found.internal)?.address ?? null
}
