import { createServer } from 'node:net'
import { CoppiceError } from '../../../domain/errors.ts'
import type { PortLeases } from '../../contracts.ts'

export type IsPortFree = (port: number) => Promise<boolean>

/** A lease says that no instance of ours has the port; only the kernel knows about the rest of the machine. */
const ATTEMPTS = 20

/** The leased port of the instance; a port on which somebody foreign listens is replaced (R12.8). */
export async function freePort(ports: PortLeases, id: string, isFree: IsPortFree): Promise<number> {
  let port = await ports.acquire(id)
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    if (await isFree(port)) return port
    port = await ports.replace(id, port)
  }
  throw new CoppiceError('PortUnavailable', `other programs listen on ${ATTEMPTS} ports in a row, the last was ${port}`)
}

/**
 * Tries each way in which an app could bind or be reached. The specific addresses are needed on macOS, where a
 * wildcard socket can be bound beside somebody's loopback one, which then gets the connections.
 */
export async function isPortFree(port: number): Promise<boolean> {
  for (const host of ['::', '0.0.0.0', '127.0.0.1', '::1']) {
    if (!(await canBind(host, port))) return false
  }
  return true
}

function canBind(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      // Anything else (no IPv6, no such address) is about this machine and not about the port.
      resolve(error.code !== 'EADDRINUSE' && error.code !== 'EACCES')
    })
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
