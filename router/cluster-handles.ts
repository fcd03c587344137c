import cluster from 'node:cluster'
import type { Server } from 'node:http'

type Handle = { fd: number; close(): void }
type Opened = (errno: number, handle: Handle | null) => void
type GetServer = (server: Server & { _handle?: Handle | null }, query: object, opened: Opened) => void

/**
 * In a process of a cluster: a port that could not be opened can be asked for again. The primary sends a socket also where
 * the port is taken; node sees only here that it is not bound, tells the error, and forgets to close it (Node 24,
 * `listenOnPrimaryHandle` in lib/net.js). While it stays open the primary hands the same dead socket to everybody who asks
 * for that port, and who asks a second time ends by an assertion. Where a later node has no `_getServer`, nothing is changed.
 */
export function closeDeadHandles(): void {
  const internals = cluster as unknown as { _getServer?: GetServer }
  const ask = internals._getServer
  if (ask === undefined) return
  internals._getServer = (server, query, opened) =>
    ask.call(cluster, server, query, (errno, handle) => {
      opened(errno, handle)
      if (handle !== null && server._handle !== handle && handle.fd >= 0) handle.close()
    })
}
