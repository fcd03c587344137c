/** What there is of the apps, read where it lies: inventory, processes, directories, the router's own table. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Plan } from '../../domain/plan.ts'
import type { RouteTable } from '../../domain/route-table.ts'
import type { Schema } from '../../store/schema.ts'
import type { Platform } from '../helpers/platform.ts'

type AppRow = Omit<Schema['apps'], 'updated_at' | 'route_version'>
/** Without what changes by itself while an instance runs. */
type InstanceRow = Omit<Schema['instances'], 'metered_at'>
export type OperationRow = Omit<Schema['operations'], 'plan' | 'failure'> & {
  plan: Plan | null
  failure: { code: string; message: string; undoFailures?: string[] } | null
}

export type World = {
  apps: AppRow[]
  instances: InstanceRow[]
  operations: OperationRow[]
  /** Which steps which operations have taken. */
  steps: Array<Pick<Schema['operation_steps'], 'operation' | 'step'>>
  deployments: Schema['deployments'][]
  ports: Schema['ports'][]
  pins: Schema['pins'][]
  routes: RouteTable | null
  /** Ids of instances that have a process. */
  processes: string[]
  /** Ids of instances that have a directory. */
  directories: string[]
  /** Half-made or half-deleted trees of artifacts and sources. */
  unfinished: string[]
}

export function lookAround(platform: Platform): World {
  const { home } = platform.stack
  const database = new DatabaseSync(join(home, 'inventory.db'), { readOnly: true, timeout: 10_000 })
  try {
    // One transaction, so that what is compared is of one moment.
    database.exec('begin')
    const all = <T>(table: string): T[] => database.prepare(`select * from ${table}`).all() as T[]
    return {
      apps: all<Schema['apps']>('apps').map(({ updated_at, route_version, ...row }) => row),
      instances: all<Schema['instances']>('instances').map(({ metered_at, ...row }) => row),
      operations: all<Schema['operations']>('operations').map((row) => ({
        ...row,
        plan: row.plan === null ? null : JSON.parse(row.plan),
        failure: row.failure === null ? null : JSON.parse(row.failure),
      })),
      steps: all('operation_steps'),
      deployments: all('deployments'),
      ports: all('ports'),
      pins: all('pins'),
      routes: routesOf(join(home, 'router', 'routes.json')),
      processes: [...new Set(platform.processes().map(({ instance }) => instance))].sort(),
      directories: entries(join(home, 'instances')),
      unfinished: ['artifacts', 'sources'].flatMap((store) =>
        ['making', 'trash'].flatMap((name) => entries(join(home, store, name))),
      ),
    }
  } finally {
    database.close()
  }
}

/** Only the operations, for waiting. */
export function operationsOf(platform: Platform, app: string): OperationRow[] {
  const database = new DatabaseSync(join(platform.stack.home, 'inventory.db'), { readOnly: true, timeout: 10_000 })
  try {
    const rows = database.prepare('select * from operations where app = ? order by requested_at, rowid').all(app)
    return (rows as Schema['operations'][]).map((row) => ({
      ...row,
      plan: row.plan === null ? null : JSON.parse(row.plan),
      failure: row.failure === null ? null : JSON.parse(row.failure),
    }))
  } finally {
    database.close()
  }
}

/** What the world has of one app. */
export type AppState = { app: AppRow | null; instances: InstanceRow[] }

export const stateOf = (world: World, app: string): AppState => ({
  app: world.apps.find(({ name }) => name === app) ?? null,
  instances: world.instances.filter((row) => row.app === app).sort((a, b) => a.slot - b.slot),
})

/**
 * Processes, directories and leased ports of the app that belong to none of its instances. The reconciler would take
 * them away after some seconds; a saga that ends must not have left them to it.
 */
export function strays(world: World, app: string): string[] {
  const ids = stateOf(world, app).instances.map(({ id }) => id)
  return Object.entries(remainsOf(world, app)).flatMap(([what, there]) =>
    there.filter((id) => !ids.includes(id)).map((id) => `${what} of ${id}`),
  )
}

/** Endpoints that the router may still choose, although nothing is there any more; it does not choose draining ones. */
export function deadRoutes({ routes, processes }: World, app: string): string[] {
  const endpoints = routes?.apps.find((each) => each.app === app)?.endpoints ?? []
  const chosen = endpoints.flatMap(({ instance, state }) => (state === 'serving' ? [instance] : []))
  return chosen.filter((instance) => !processes.includes(instance))
}

/** Whose processes, directories and ports there are. */
function remainsOf({ processes, directories, ports }: World, app: string) {
  const own = (id: string) => new RegExp(`^${app}-[^-]{8}-\\d+$`).test(id)
  const leased = ports.flatMap(({ state, instance }) => (state === 'leased' && instance !== null ? [instance] : []))
  return { processes: processes.filter(own), directories: directories.filter(own), 'leased ports': leased.filter(own) }
}

/**
 * What is there of the app and should not be, or should be and is not, when no operation runs on it: its processes,
 * directories, leased ports and routes are exactly its instances, and these are as its record has them.
 */
export function untidiness(world: World, app: string): string[] {
  const found: string[] = []
  const { app: row, instances } = stateOf(world, app)
  const ids = instances.map(({ id }) => id).sort()
  const expectIds = (what: string, there: string[]) => {
    if (there.toSorted().join() !== ids.join()) found.push(`${what}: ${list(there)}, instances: ${list(ids)}`)
  }
  for (const [what, there] of Object.entries(remainsOf(world, app))) expectIds(what, there)
  for (const { port, instance, state, rests_until_version } of world.ports)
    if (state === 'resting' && rests_until_version === null && instance?.startsWith(`${app}-`))
      found.push(`port ${port} of ${instance} rests for ever`)

  const wanted = row === null || row.desired === 'stopped' ? 0 : row.instances
  const slots = instances.map(({ slot }) => slot).join()
  if (slots !== Array.from({ length: wanted }, (_, slot) => slot).join())
    found.push(`slots: ${slots || 'none'}, the app has ${wanted} instances`)
  for (const each of instances) {
    const is = `${each.role} ${each.desired} ${each.observed} ${each.mode} of ${each.deployment}`
    const should = `serving running running ${row?.mode} of ${row?.active_deployment}`
    if (is !== should) found.push(`instance ${each.id} is ${is}, should be ${should}`)
  }

  const route = world.routes?.apps.find((each) => each.app === app)
  const routed = (route?.endpoints ?? []).map(({ instance, address, state }) => `${instance} ${address} ${state}`)
  const serving = instances.map(({ id, address }) => `${id} ${address} serving`)
  if (routed.toSorted().join() !== serving.toSorted().join())
    found.push(`the router has ${list(routed)}, should have ${list(serving)}`)
  if (row !== null && route?.affinity !== (row.mode === 'scaled'))
    found.push(`the router has affinity ${route?.affinity}`)

  if (row !== null && row.operation !== null) found.push(`operation ${row.operation} still owns the app`)
  if (row !== null && row.pending_deployment !== null)
    found.push(`deployment ${row.pending_deployment} is still pending`)
  if (row !== null && row.place !== (row.mode === 'scaled' ? 1 : 0)) found.push(`place ${row.place} as ${row.mode} app`)
  if (row !== null && row.compute_state !== (row.desired === 'running' ? 'ACTIVE' : 'STOPPED'))
    found.push(`compute is ${row.compute_state}`)
  for (const operation of world.operations.filter((each) => each.app === app)) {
    if (operation.ended_at === null) found.push(`${operation.type} ${operation.id} is ${operation.state}`)
    const pinned = world.pins.filter(({ holder }) => holder === operation.id)
    if (operation.ended_at !== null && pinned.length > 0) found.push(`${operation.id} has ended and still pins`)
  }
  for (const deployment of world.deployments.filter((each) => each.app === app)) {
    if (deployment.state === 'IN_PROGRESS') found.push(`deployment ${deployment.id} is still in progress`)
    const pinned = world.pins.filter(({ holder }) => holder === deployment.id).length
    // One that was let go, because the app has had many since, has no artifact any more.
    const kept = deployment.state === 'SUCCEEDED' && deployment.artifact !== null
    if (pinned > 0 !== kept) found.push(`deployment ${deployment.id} is ${deployment.state} and has ${pinned} pins`)
  }
  if (row === null && world.deployments.some((each) => each.app === app)) found.push('deployments without an app')
  return found
}

const list = (words: string[]): string => (words.length === 0 ? 'none' : words.toSorted().join(', '))

const entries = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => !name.startsWith('.'))
        .sort()
    : []

function routesOf(file: string): RouteTable | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RouteTable
  } catch {
    return null
  }
}
