import { createServer } from 'node:net'

/** After a SIGKILL of the whole router its orphans hold the port for some more milliseconds. */
const PATIENCE_MS = 1500

/**
 * Looks whether a port is free before the processes are told to open it: node:cluster, once it failed to open a port
 * in a process, cannot try again there (an assertion ends the process, Node 24).
 */
export class PortGuard {
  private readonly host: string
  private readonly problem: (key: string, message: string | null) => void
  private open = new Set<number>()
  private taken = new Set<number>()
  private looking: Promise<unknown> = Promise.resolve()

  constructor(host: string, problem: (key: string, message: string | null) => void) {
    this.host = host
    this.problem = problem
  }

  /** Those that could not be opened at the last call. */
  get takenPorts(): number[] {
    return [...this.taken]
  }

  /**
   * One after the other, in the order of the calls: two looks at one port would each find it taken by the other.
   * @returns those of the ports that can be opened, or are open; each of the others becomes a problem of its own
   */
  usable(ports: readonly number[]): Promise<number[]> {
    const look = this.looking.then(() => this.look(ports))
    this.looking = look
    return look
  }

  private async look(ports: readonly number[]): Promise<number[]> {
    const open = new Set<number>()
    const taken = new Set<number>()
    for (const port of ports) {
      const error = this.open.has(port) ? null : await bindError(this.host, port)
      if (error === null) open.add(port)
      else taken.add(port)
      this.problem(`port-${port}`, error === null ? null : `port ${port} cannot be opened: ${error.message}`)
    }
    for (const port of this.taken) if (!ports.includes(port)) this.problem(`port-${port}`, null)
    this.open = open
    this.taken = taken
    return [...open]
  }
}

/** @returns why the router cannot listen there, or null if it can */
export async function waitForPort(host: string, port: number): Promise<Error | null> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const error = await bindError(host, port)
    if (error === null || performance.now() > deadline) return error
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

function bindError(host: string, port: number): Promise<Error | null> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ host, port }, () => probe.close(() => resolve(null)))
  })
}
