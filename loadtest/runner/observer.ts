/** Watches the app from outside while the load runs: its route tables, and who the routers found down. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { AppRoute, RouteTable } from '../../domain/route-table.ts'
import type { Fault, SeenTable } from '../check/world.ts'
import type { PlatformApi } from './api.ts'

const POLL_MS = 200
/** Routers tell that an instance is down with their next report, which may be 2 s later. */
const REPORT_DELAY_MS = 2_500
const READY_TIMEOUT_MS = 15_000

export class Observer {
  readonly tables: SeenTable[] = []
  /** Ejections by the routers' checks, whether or not a fault was the cause. */
  readonly ejections: Fault[] = []
  readonly #api: PlatformApi
  readonly #app: string
  readonly #over = new AbortController()
  readonly #done: Promise<unknown>
  readonly #down = new Map<string, Fault>()
  #routeVersion = -1

  constructor(api: PlatformApi, app: string) {
    this.#api = api
    this.#app = app
    this.#done = Promise.all([this.#followTables(), this.#pollRouters()])
  }

  /** Resolves with the first table that has the app. Rejects when none comes, or `signal` is aborted. */
  async ready(signal: AbortSignal): Promise<void> {
    for (
      const end = performance.now() + READY_TIMEOUT_MS;
      this.tables.length === 0;
      await sleep(20, undefined, { signal })
    ) {
      if (performance.now() > end) throw new Error(`no route table has ${this.#app} after ${READY_TIMEOUT_MS / 1000} s`)
    }
  }

  isDown(instance: string): boolean {
    return this.#down.has(instance)
  }

  async stop(): Promise<void> {
    this.#over.abort()
    await this.#done
  }

  async #followTables(): Promise<void> {
    const { apiUrl, token } = this.#api.address
    while (!this.#over.signal.aborted) {
      try {
        const answer = await fetch(`${apiUrl}/api/coppice/v1/routes/stream?router=loadtest-observer`, {
          headers: { authorization: `Bearer ${token}` },
          signal: this.#over.signal,
        })
        let text = ''
        for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
          text += Buffer.from(chunk).toString()
          const lines = text.split('\n')
          text = lines.pop() as string
          for (const line of lines) if (line.startsWith('data:')) this.#see(JSON.parse(line.slice(5)))
        }
      } catch {
        // The control plane may be away for a moment; routers go on without it, too.
        await sleep(100)
      }
    }
  }

  #see(table: RouteTable): void {
    const route = (table.apps ?? []).find(({ app }: AppRoute) => app === this.#app)
    if (route === undefined || route.version === this.#routeVersion) return
    this.#routeVersion = route.version
    this.tables.push({
      at: Date.now(),
      version: table.version,
      affinity: route.affinity,
      rebalance: route.rebalance,
      endpoints: route.endpoints.map(({ instance, slot, state, deployment }) => ({
        instance,
        slot,
        state,
        deployment: deployment ?? null,
      })),
    })
  }

  async #pollRouters(): Promise<void> {
    for (; !this.#over.signal.aborted; await sleep(POLL_MS)) {
      const routers = await this.#api.routers().catch(() => null)
      if (routers === null) continue
      const down = new Set(routers.flatMap((router) => router.down))
      for (const instance of down) {
        const slot = this.#slotOf(instance)
        if (slot === null || this.#down.has(instance)) continue
        const at = Date.now() - REPORT_DELAY_MS
        const ejection: Fault = { kind: 'ejected', instance, slot, at, until: Infinity, seenAt: Date.now() }
        this.#down.set(instance, ejection)
        this.ejections.push(ejection)
      }
      for (const [instance, ejection] of this.#down) {
        if (down.has(instance)) continue
        ejection.until = Date.now() + REPORT_DELAY_MS
        this.#down.delete(instance)
      }
    }
  }

  #slotOf(instance: string): number | null {
    for (const { endpoints } of this.tables) {
      const found = endpoints.find((endpoint) => endpoint.instance === instance)
      if (found !== undefined) return found.slot
    }
    return null
  }
}
