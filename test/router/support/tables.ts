import { type AppRoute, PROTOCOL, type RouteTable } from '../../../domain/route-table.ts'

type Where = { name: string; address: string; state?: 'serving' | 'draining'; slot?: number; up?: boolean }

/** One app with its endpoints in slots 0, 1, … */
export function app(name: string, origins: Where[], more: Partial<AppRoute> = {}): AppRoute {
  return {
    app: name,
    hostnames: [`${name}.localhost`],
    port: null,
    version: 1,
    affinity: true,
    status: 'running',
    drainTimeoutMs: 5000,
    held: false,
    healthPath: null,
    silenceMs: 15_000,
    rebalance: null,
    namingDigest: null,
    endpoints: origins.map((origin, i) => ({
      instance: origin.name,
      slot: origin.slot ?? i,
      address: origin.address,
      state: origin.state ?? 'serving',
      up: origin.up ?? true,
    })),
    ...more,
  }
}

export const table = (version: number, ...apps: AppRoute[]): RouteTable => ({
  protocol: PROTOCOL,
  inventory: 'test',
  version,
  apps,
})
