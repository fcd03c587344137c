import { createServer } from 'node:net'

/** After a SIGKILL of the whole router its orphans hold the port for some more milliseconds. */
const PATIENCE_MS = 1500

/**
 * Looks whether a port is free before the processes are told to open it: one that stays taken costs them nothing. One that
 * somebody takes in between, so that a process cannot open it, they are told again with each look; it counts as taken until
 * all have it open.
 */
export class PortGuard {
  private readonly host: string
  private readonly problem: (key: string, message: string | null) => void
  private readonly isOpen: (port: number) => boolean
  /** The processes are to open them. */
  private told = new Set<number>()
  /** Not open, as far as is known. */
  private taken = new Set<number>()
  private looking: Promise<unknown> = Promise.resolve()

  /** @param isOpen whether all processes have it open */
  constructor(host: string, problem: (key: string, message: string | null) => void, isOpen: (port: number) => boolean) {
    this.host = host
    this.problem = problem
    this.isOpen = isOpen
  }

  /** To be looked at again. */
  get takenPorts(): number[] {
    return [...this.taken]
  }

  /** By the last look, or by the word of a process that was to open it. */
  cannotOpen(port: number, reason: string): void {
    this.taken.add(port)
    this.problem(`port-${port}`, `port ${port} cannot be opened: ${reason}`)
  }

  /**
   * One after the other, in the order of the calls: two looks at one port would each find it taken by the other.
   * @returns those of the ports that the processes are to open; each of the others becomes a problem of its own
   */
  usable(ports: readonly number[]): Promise<number[]> {
    const look = this.looking.then(() => this.look(ports))
    this.looking = look
    return look
  }

  private async look(ports: readonly number[]): Promise<number[]> {
    for (const port of this.told) if (!ports.includes(port)) this.told.delete(port)
    for (const port of this.taken) if (!ports.includes(port)) this.wellAgain(port)
    for (const port of ports) {
      if (this.told.has(port)) {
        if (this.taken.has(port) && this.isOpen(port)) this.wellAgain(port)
        continue
      }
      const error = await bindError(this.host, port)
      if (error === null) this.told.add(port)
      else this.cannotOpen(port, error.message)
    }
    return [...this.told]
  }

  private wellAgain(port: number): void {
    this.taken.delete(port)
    this.problem(`port-${port}`, null)
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
