import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Free ports below the kernel's ephemeral range (32768 up on Linux, 49152 on macOS): a port of that range could be
 * taken by an outgoing connection between here and the moment its user listens. Drawn at random, so that stacks which
 * start at the same time seldom meet.
 */
const LOWEST = 30_000
const HIGHEST = 32_699

/**
 * Ports to which no browser makes a connection, for whatever a page asks (Fetch, "port blocking"; these have been on the
 * lists of Chromium, Firefox and WebKit for years). For listeners that do not judge who asks (R13.7). Left out: 2049 and
 * 6000, where NFS and X11 are looked for.
 */
export const REFUSED_BY_BROWSERS = [
  6665, 6666, 6667, 6668, 6669, 6697, 6566, 10080, 5060, 5061, 1719, 1720, 1723, 3659, 4045,
]

/** So many of them as are free, in random order: stacks that start at the same time seldom meet. */
export async function freePortsRefusedByBrowsers(random: () => number = Math.random): Promise<number[]> {
  const drawn = REFUSED_BY_BROWSERS.map((port) => ({ port, at: random() })).sort((a, b) => a.at - b.at)
  const free = await Promise.all(drawn.map(({ port }) => isFree(port)))
  return drawn.map(({ port }) => port).filter((_, index) => free[index])
}

/**
 * Where stacks of tests get the port ranges of their apps from. A range begins anywhere: of most only the first ports are
 * used, so that two stacks at a time meet less often than if each drew one of some blocks.
 */
const INSTANCE_PORTS = { first: 20_000, last: 27_999, size: 200 }
const APP_PORTS = { first: 28_000, last: 29_999, size: 50 }

export function randomPortRanges(random: () => number = Math.random): { instancePorts: string; appPorts: string } {
  const draw = (range: typeof APP_PORTS): string => {
    const first = range.first + Math.floor(random() * (range.last - range.first + 2 - range.size))
    return `${first}-${first + range.size - 1}`
  }
  return { instancePorts: draw(INSTANCE_PORTS), appPorts: draw(APP_PORTS) }
}

export async function freePorts(count: number, random: () => number = Math.random): Promise<number[]> {
  const found = new Set<number>()
  for (let attempt = 0; found.size < count; attempt++) {
    if (attempt > 500) throw new Error(`no free port between ${LOWEST} and ${HIGHEST}`)
    const port = LOWEST + Math.floor(random() * (HIGHEST - LOWEST + 1))
    if (!found.has(port) && (await isFree(port))) found.add(port)
  }
  return [...found]
}

/** Whether one can listen there, on this host and on all of them (a listener on 0.0.0.0 hides one on 127.0.0.1). */
export async function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return (await canListen(port, host)) && (host === '0.0.0.0' || (await canListen(port, '0.0.0.0')))
}

/** A process that was just ended may hold its port for an instant. */
export async function becomesFree(port: number, host: string, timeoutMs: number): Promise<boolean> {
  for (const end = performance.now() + timeoutMs; ; ) {
    if (await isFree(port, host)) return true
    if (performance.now() > end) return false
    await sleep(50)
  }
}

function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
