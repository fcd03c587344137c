import { readFileSync, writeFileSync } from 'node:fs'
import { CoppiceError } from '../../domain/errors.ts'
import type { PortLeases } from '../../runtime/contracts.ts'
import { isPortFree } from '../../runtime/providers/process/free-port.ts'

/**
 * Leases of ports in a file, so that a provider in another process (one that is killed) shares them. Ports are drawn
 * below the ephemeral range and only where nobody listens, because other test runs share the machine.
 */
export class TestPorts implements PortLeases {
  readonly #path: string
  /** The ports that are given out next, before any is drawn. */
  readonly next: number[] = []
  readonly replaced: number[] = []

  constructor(path: string) {
    this.#path = path
  }

  get leases(): Record<string, number> {
    try {
      return JSON.parse(readFileSync(this.#path, 'utf8'))
    } catch {
      return {}
    }
  }

  async acquire(instance: string): Promise<number> {
    const { leases } = this
    leases[instance] ??= this.next.shift() ?? (await this.#draw())
    writeFileSync(this.#path, JSON.stringify(leases))
    return leases[instance]
  }

  async replace(instance: string, port: number): Promise<number> {
    this.replaced.push(port)
    await this.release(instance)
    return this.acquire(instance)
  }

  async release(instance: string): Promise<void> {
    const { [instance]: _, ...rest } = this.leases
    writeFileSync(this.#path, JSON.stringify(rest))
  }

  async #draw(): Promise<number> {
    const taken = new Set([...Object.values(this.leases), ...this.replaced])
    for (let attempt = 0; attempt < 100; attempt++) {
      const port = 10_000 + Math.floor(Math.random() * 20_000)
      if (!taken.has(port) && (await isPortFree(port))) return port
    }
    throw new CoppiceError('PortUnavailable', 'no free port between 10000 and 30000')
  }
}
