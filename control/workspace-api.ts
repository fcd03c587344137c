/**
 * What admins decide for all apps (R2), and what these use in all (R1.3):
 *
 *   GET    /workspace
 *   PATCH  /workspace        {horizontal_scaling?, max_scaled_apps?, max_instances_per_app?}      admins
 *   GET    /tokens                                                                                admins
 *   POST   /tokens           {name, role?} → with the token, this once                            admins
 *   DELETE /tokens/{name}                                                                         admins
 */
import { Router } from 'express'
import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'
import type { Store } from '../store/store.ts'
import type { Token } from '../store/tokens.ts'
import { ADMIN, principalOf, requireAdmin } from './auth.ts'
import { readBody } from './bodies.ts'
import type { ComputeLimits } from './views.ts'

export type WorkspaceApiDeps = { store: Pick<Store, 'workspace' | 'tokens'>; computeLimits: ComputeLimits }

/** Of one app; `domain/inputs.ts` takes no more by hand either. */
const MOST_INSTANCES = 64

const settingsSchema = z.strictObject({
  horizontal_scaling: z.boolean().optional(),
  max_scaled_apps: z.int().min(0).max(100_000).optional(),
  max_instances_per_app: z.int().min(1).max(MOST_INSTANCES).optional(),
})

const tokenSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, 'must be 1 to 64 letters, digits, ".", "_", "@" or "-"')
    .refine((name) => name !== ADMIN, 'is the name of whoever holds the token of the data directory'),
  role: z.enum(['user', 'admin']).default('user'),
})

export function workspaceApi({ store, computeLimits }: WorkspaceApiDeps): Router {
  const router = Router()

  const view = async () => {
    const settings = await store.workspace.settings()
    const use = await store.workspace.use()
    return {
      settings: {
        horizontal_scaling: settings.horizontalScaling,
        max_scaled_apps: settings.maxScaledApps,
        max_instances_per_app: settings.maxInstancesPerApp,
      },
      use: {
        scaled_apps: use.scaledApps,
        instances: use.instances,
        vcpus: use.vcpus,
        memory_gb: use.memoryGb,
        instance_hours: rounded(use.instanceHours),
        vcpu_hours: rounded(use.vcpuHours),
      },
      compute_sizes: Object.fromEntries(
        Object.entries(store.workspace.sizes).map(([size, { vcpus, memoryGb }]) => [
          size,
          { vcpus, memory_gb: memoryGb },
        ]),
      ),
      compute_limits: computeLimits,
    }
  }

  router.get('/workspace', async (_request, response) => {
    response.json(await view())
  })

  router.patch('/workspace', requireAdmin, async (request, response) => {
    const patch = readBody(settingsSchema, request.body)
    await store.workspace.change({
      ...(patch.horizontal_scaling !== undefined && { horizontalScaling: patch.horizontal_scaling }),
      ...(patch.max_scaled_apps !== undefined && { maxScaledApps: patch.max_scaled_apps }),
      ...(patch.max_instances_per_app !== undefined && { maxInstancesPerApp: patch.max_instances_per_app }),
    })
    response.json(await view())
  })

  router.get('/tokens', requireAdmin, async (_request, response) => {
    response.json({ tokens: (await store.tokens.list()).map(tokenView) })
  })

  router.post('/tokens', requireAdmin, async (request, response) => {
    const { name, role } = readBody(tokenSchema, request.body)
    const created = await store.tokens.create({ name, role, createdBy: principalOf(response).name })
    response.json({ ...tokenView(created), token: created.token })
  })

  router.delete('/tokens/:name', requireAdmin, async (request, response) => {
    const name = String(request.params.name)
    if (!(await store.tokens.remove(name))) throw new CoppiceError('NotFound', `There is no token named ${name}`)
    response.json({ name })
  })

  return router
}

const tokenView = ({ name, role, createdAt, createdBy }: Token) => ({
  name,
  role,
  create_time: new Date(createdAt).toISOString(),
  created_by: createdBy,
})

/** To a thousandth of an hour, 3.6 s. */
const rounded = (hours: number): number => Math.round(hours * 1000) / 1000
