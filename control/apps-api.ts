/** Apps and deployments, as the product's public REST API has them (docs/rules.md; error bodies: errors.ts). */
import { Router } from 'express'
import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'
import type { Deployment } from '../domain/records.ts'
import type { Store } from '../store/store.ts'
import type { AppReader } from './app-reader.ts'
import { principalOf } from './auth.ts'
import {
  createAppSchema,
  type DeploymentBody,
  deploymentSchema,
  emptySchema,
  envOf,
  flagSchema,
  ONE_INSTANCE,
  patchAppSchema,
  read,
  readBody,
} from './bodies.ts'
import type { OperationStarter } from './operations.ts'
import { pageQuery, pageSize, pageStart, toPage } from './paging.ts'
import { deploymentView } from './views.ts'

export type AppsApiDeps = {
  store: Store
  apps: AppReader
  operations: OperationStarter
  /** Throws CoppiceError InvalidInput or SourceNotFound for a path that may not be deployed. */
  resolveSource: (path: string) => Promise<string>
  /** Whether a source of this digest has been uploaded and is whole. */
  hasSource: (digest: string) => Promise<boolean>
}

export function appsApi(deps: AppsApiDeps): Router {
  const { store, apps, operations } = deps
  const router = Router()

  router.post('/', async (request, response) => {
    const { no_compute } = read(z.strictObject({ no_compute: flagSchema.optional() }), request.query)
    const body = readBody(createAppSchema, request.body)
    const instances = body.compute_max_instances
    if (body.default_source_code_path !== undefined) await deps.resolveSource(body.default_source_code_path)
    const app = await store.apps.create({
      name: body.name,
      description: body.description,
      mode: instances === undefined ? 'standard' : 'scaled',
      instances: instances ?? 1,
      computeSize: body.compute_size,
      desired: no_compute ? 'stopped' : 'running',
      defaultSourceCodePath: body.default_source_code_path,
      health: body.health_check,
      creator: principalOf(response).name,
    })
    const view = await apps.viewOf(app)
    if (instances === 1) view.compute_status.message += ` ${ONE_INSTANCE}`
    response.json(view)
  })

  router.get('/', async (request, response) => {
    const query = read(z.strictObject({ ...pageQuery, space: z.string().optional() }), request.query)
    const size = pageSize(query)
    const { page, next } = toPage(
      await store.apps.list({ after: pageStart(query), limit: size + 1 }),
      size,
      (app) => app.name,
    )
    response.json({
      apps: await Promise.all(page.map((app) => apps.viewOf(app))),
      ...(next !== undefined && { next_page_token: next }),
    })
  })

  router.get('/:name', async (request, response) => {
    response.json(await apps.view(request.params.name))
  })

  /**
   * Changes the description and the health check. The product's PATCH replaces the whole app; here what is left out stays as it is, because
   * otherwise a client that omits the counts would convert a scaled app back. Changes of mode, count and size are
   * operations of their own, for POST …/update, and are refused here.
   */
  router.patch('/:name', async (request, response) => {
    const body = readBody(patchAppSchema, request.body)
    const app = await apps.record(request.params.name)
    const unchanged = (field: string, wanted: unknown, is: unknown) => {
      if (wanted !== undefined && wanted !== is)
        throw new CoppiceError(
          'InvalidInput',
          `${field}: cannot be changed here (it is ${is ?? 'not set'}); POST …/update does`,
          { field },
        )
    }
    const count = app.mode === 'scaled' ? app.instances : null
    unchanged('name', body.name, app.name)
    unchanged('compute_min_instances', body.compute_min_instances, count)
    unchanged('compute_max_instances', body.compute_max_instances, count)
    unchanged('compute_size', body.compute_size, app.computeSize)
    unchanged('default_source_code_path', body.default_source_code_path, app.defaultSourceCodePath)
    await store.appSettings.set(app.name, {
      ...(body.health_check !== undefined && { health: body.health_check }),
      ...(body.description !== undefined && { description: body.description }),
    })
    response.json(await apps.view(app.name))
  })

  /** The app as the operation that has just started left it, with its id even if it has ended already. */
  const operate = async (name: string, type: 'start' | 'stop' | 'delete', startedBy: string) => {
    const before = await apps.view(name)
    const { id } = await operations.start({ app: name, change: { type }, startedBy })
    const app = await store.apps.get(name)
    return { ...(app === null ? before : await apps.viewOf(app)), operation: id }
  }

  router.delete('/:name', async (request, response) => {
    response.json(await operate(request.params.name, 'delete', principalOf(response).name))
  })

  for (const type of ['start', 'stop'] as const)
    router.post(`/:name/${type}`, async (request, response) => {
      readBody(emptySchema, request.body)
      response.json(await operate(request.params.name, type, principalOf(response).name))
    })

  router.post('/:name/deployments', async (request, response) => {
    const body = readBody(deploymentSchema, request.body)
    await apps.record(request.params.name)
    await checkDeployment(deps, body)
    const operation = await operations.start({
      app: request.params.name,
      change: { type: 'deploy' },
      startedBy: principalOf(response).name,
      deployment: {
        id: body.deployment_id,
        sourceCodePath: body.source_code_path ?? null,
        source: body.source_digest ?? null,
        command: body.command ?? null,
        env: envOf(body),
        health: body.health_check ?? {},
        creator: principalOf(response).name,
      },
    })
    response.json(deploymentView((await store.deployments.get(operation.deployment as string)) as Deployment))
  })

  router.get('/:name/deployments', async (request, response) => {
    const query = read(z.strictObject(pageQuery), request.query)
    const { name } = await apps.record(request.params.name)
    const size = pageSize(query)
    const { page, next } = toPage(
      await store.deployments.list(name, { before: pageStart(query), limit: size + 1 }),
      size,
      (deployment) => deployment.id,
    )
    response.json({
      app_deployments: page.map(deploymentView),
      ...(next !== undefined && { next_page_token: next }),
    })
  })

  router.get('/:name/deployments/:id', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    const deployment = await store.deployments.get(request.params.id)
    if (deployment?.app !== name)
      throw new CoppiceError('NotFound', `App ${name} has no deployment ${request.params.id}`)
    response.json(deploymentView(deployment))
  })

  return router
}

/** What can be found wrong before anything is written down. */
async function checkDeployment({ resolveSource, hasSource }: AppsApiDeps, body: DeploymentBody): Promise<void> {
  if (body.source_code_path !== undefined) await resolveSource(body.source_code_path)
  if (body.source_digest !== undefined && !(await hasSource(body.source_digest)))
    throw new CoppiceError('SourceNotFound', `source_digest: no source ${body.source_digest} has been uploaded`, {
      field: 'source_digest',
    })
}
