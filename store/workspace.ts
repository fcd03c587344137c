/**
 * What a workspace admin decides (R2): whether apps may be scaled out, and how far. A setting that nobody has changed
 * has the value that the program was started with.
 */
import { CoppiceError } from '../domain/errors.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { usedMs } from './usage.ts'

export type WorkspaceSettings = {
  /** The preview "horizontal scaling" is on (R2.1). */
  horizontalScaling: boolean
  /** How many apps may be scaled at once (R2.3). */
  maxScaledApps: number
  maxInstancesPerApp: number
}

/** What the status of the workspace says of its use. */
export type WorkspaceUse = {
  scaledApps: number
  instances: number
  vcpus: number
  memoryGb: number
  /** Since the inventory was made, over all instances. */
  instanceHours: number
  vcpuHours: number
}

/** Up to so much of the machine for an instance (R1.3). Advisory where the provider cannot enforce it. */
export type ComputeSizes = Record<'MEDIUM' | 'LARGE', { vcpus: number; memoryGb: number }>

/** The product's. */
export const COMPUTE_SIZES: ComputeSizes = {
  MEDIUM: { vcpus: 2, memoryGb: 6 },
  LARGE: { vcpus: 4, memoryGb: 12 },
}

export class Workspace {
  readonly #context: StoreContext
  readonly #initial: WorkspaceSettings
  readonly sizes: ComputeSizes

  constructor(context: StoreContext, initial: WorkspaceSettings, sizes: ComputeSizes = COMPUTE_SIZES) {
    this.sizes = sizes
    this.#context = context
    this.#initial = initial
  }

  settings(): Promise<WorkspaceSettings> {
    return this.settingsIn(this.#context.db)
  }

  async settingsIn(tx: Db): Promise<WorkspaceSettings> {
    const rows = await tx.selectFrom('settings').selectAll().execute()
    const changed = Object.fromEntries(rows.map(({ key, value }) => [key, JSON.parse(value)]))
    return { ...this.#initial, ...changed }
  }

  async change(patch: Partial<WorkspaceSettings>): Promise<WorkspaceSettings> {
    return write(this.#context, async (tx) => {
      for (const [key, value] of Object.entries(patch))
        await tx
          .insertInto('settings')
          .values({ key, value: JSON.stringify(value) })
          .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: JSON.stringify(value) }))
          .execute()
      return this.settingsIn(tx)
    })
  }

  /**
   * Takes a place for a scaled app, or says why not; within the transaction that makes the app one, so that two that
   * race for the last place cannot both have it.
   *
   * @throws CoppiceError PreviewDisabled, LimitExceeded
   */
  async takePlace(tx: Db, app: string): Promise<void> {
    const { horizontalScaling, maxScaledApps } = await this.settingsIn(tx)
    if (!horizontalScaling)
      throw new CoppiceError(
        'PreviewDisabled',
        `Horizontal scaling is a preview that is off in this workspace, so ${app} cannot be a scaled app`,
      )
    const used = await placesUsed(tx)
    if (used >= maxScaledApps)
      throw new CoppiceError(
        'LimitExceeded',
        `${app} would be scaled app number ${used + 1}; this workspace may have ${maxScaledApps}, and ${used} are in use`,
        { limit: maxScaledApps, used, setting: 'max_scaled_apps' },
      )
  }

  /** @throws CoppiceError LimitExceeded */
  async withinInstanceLimit(tx: Db, app: string, instances: number): Promise<void> {
    const { maxInstancesPerApp } = await this.settingsIn(tx)
    if (instances > maxInstancesPerApp)
      throw new CoppiceError(
        'LimitExceeded',
        `instances is ${instances} for ${app}; an app may have ${maxInstancesPerApp} at most`,
        { field: 'instances', limit: maxInstancesPerApp, setting: 'max_instances_per_app' },
      )
  }

  /** The sum of what runs (R1.3). */
  async use(): Promise<WorkspaceUse> {
    const rows = await this.#context.db
      .selectFrom('instances')
      .select(['compute_size', ({ fn }) => fn.countAll<number>().as('count')])
      .where('observed', 'in', ['running', 'starting'])
      .groupBy('compute_size')
      .execute()
    const hours = Object.entries(await usedMs(this.#context)).map(([size, ms]) => ({ size, hours: ms / 3_600_000 }))
    const sum = (of: (size: { vcpus: number; memoryGb: number }) => number) =>
      rows.reduce((total, row) => total + Number(row.count) * of(sizeOf(this.sizes, row.compute_size)), 0)
    return {
      scaledApps: await placesUsed(this.#context.db),
      instances: sum(() => 1),
      vcpus: sum((size) => size.vcpus),
      memoryGb: sum((size) => size.memoryGb),
      instanceHours: hours.reduce((total, each) => total + each.hours, 0),
      vcpuHours: hours.reduce((total, each) => total + each.hours * sizeOf(this.sizes, each.size).vcpus, 0),
    }
  }
}

/** Nothing for a name of which this program knows nothing. */
export const sizeOf = (sizes: ComputeSizes, name: string): { vcpus: number; memoryGb: number } =>
  sizes[name as keyof ComputeSizes] ?? { vcpus: 0, memoryGb: 0 }

async function placesUsed(tx: Db): Promise<number> {
  const row = await tx
    .selectFrom('apps')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('place', '=', 1)
    .executeTakeFirstOrThrow()
  return Number(row.count)
}
