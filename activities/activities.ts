/** Everything that sagas do to the world. Workflows know the types only. */
import { type BuildingDeps, createBuildingActivities } from './building.ts'
import { createInventoryActivities, type InventoryDeps } from './inventory.ts'
import { createRunningActivities, type RunningDeps } from './running.ts'

export type ActivityDeps = BuildingDeps & InventoryDeps & RunningDeps

export const createActivities = (deps: ActivityDeps) => ({
  ...createInventoryActivities(deps),
  ...createBuildingActivities(deps),
  ...createRunningActivities(deps),
})

export type Activities = ReturnType<typeof createActivities>
