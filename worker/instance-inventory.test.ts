import { mkdtempSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Plan } from '../domain/plan.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import type { Builder, BuildRequest, SpecCaller } from '../runtime/contracts.ts'
import { admitDeploy, openTestStore, type TestStore } from '../store/testing.ts'
import { openBuildLog } from './build-log.ts'
import { createInstanceInventory } from './instance-inventory.ts'
import { createLogger } from './logger.ts'

const LIST = ['dash==2.18.1']

let store: TestStore
let logs: string
/** What was asked of the builder, and what is kept. */
let requests: BuildRequest[]
let kept: Set<string>
/** How often an artifact was looked for. */
let looks: number
let build: Builder['build']
beforeEach(async () => {
  store = await openTestStore()
  logs = mkdtempSync(join(tmpdir(), 'coppice-logs-'))
  requests = []
  kept = new Set()
  looks = 0
  // Its key says with what it was built, as real ones do.
  build = async ({ preinstalled }, { log, onProgress }) => {
    log('$ uv pip install')
    onProgress('Installing')
    const artifact = `with-${preinstalled === true ? 'today' : JSON.stringify(preinstalled)}`
    kept.add(artifact)
    return { artifact, layers: [], built: ['source'], preinstalled: null }
  }
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 2, creator: 'ada', preinstalled: true })
})
afterEach(async () => {
  await store.dispose()
  await removeTree(logs)
})

const createInventory = () =>
  createInstanceInventory({
    store,
    artifacts: {
      open: async (key) => {
        looks++
        return kept.has(key)
          ? { path: '/kept', run: { command: ['run'], env: [], path: [], vars: {}, links: {}, runtime: 'node' } }
          : null
      },
    },
    builder: {
      build: (request, caller) => {
        requests.push(request)
        return build(request, caller)
      },
    },
    openBuildLog: (app, deployment) => openBuildLog(logs, app, deployment),
    logger: createLogger('silent'),
    options: { apiUrl: null, workspaceId: '1', urlTemplate: 'http://{app}' },
    toolPath: [],
  })

/** Instances of a deployment whose artifact is gone. @returns their ids. */
async function damaged(artifact: string, builtWith: object | null): Promise<string[]> {
  const plan = await admitDeploy(store, 'op-1', { id: 'd1', source: 'source' })
  store.raw
    .prepare(`update deployments set artifact = ?, built_with = ? where id = 'd1'`)
    .run(artifact, builtWith === null ? null : JSON.stringify(builtWith))
  return plan.add.map(({ id }) => id)
}

const caller = (words: string[] = []): SpecCaller => ({
  signal: new AbortController().signal,
  onProgress: (word) => words.push(word),
})
const log = () => readFile(join(logs, 'hello', 'build-d1.log'), 'utf8')

describe('R4.3 a damaged artifact', () => {
  it('is built again with the libraries that it was built with, once for all its instances, with log and progress', async () => {
    const ids = await damaged('with-["dash==2.18.1"]', { preinstalled: LIST })
    // What decides today is not what decided then.
    await store.appSettings.set('hello', { preinstalled: false })
    const words: string[] = []
    const inventory = createInventory()
    const specs = await Promise.all(ids.map((id) => inventory.spec(id, caller(words))))
    expect(specs.map((spec) => spec?.artifactPath)).toEqual(['/kept', '/kept'])
    expect(requests).toMatchObject([{ preinstalled: LIST, source: 'source', holder: 'd1' }])
    expect(words).toContain('its artifact was damaged and is built again: Installing')
    expect(await log()).toBe('coppice: the artifact was damaged and is built again\n$ uv pip install\n')
  })

  it('that had none of them gets none', async () => {
    const [id = ''] = await damaged('with-false', { preinstalled: null })
    await createInventory().spec(id, caller())
    expect(requests.map(({ preinstalled }) => preinstalled)).toEqual([false])
  })

  it('of an earlier version, which wrote nothing down, is tried both ways', async () => {
    const [id = ''] = await damaged('with-false', null)
    await createInventory().spec(id, caller())
    expect(requests.map(({ preinstalled }) => preinstalled)).toEqual([true, false])
  })

  it('that cannot be built again as it was is not used, and says so', async () => {
    const [id = ''] = await damaged('with-something-else', { preinstalled: LIST })
    await expect(createInventory().spec(id, caller())).rejects.toThrow(/cannot be built again as it was; deploy again/)
    expect(await log()).toContain('what was built is not what it was')
  })

  it('R12.7 whose build is given up by the last of its instances ends that build, and not before', async () => {
    const ids = await damaged('with-false', { preinstalled: null })
    const begun = Promise.withResolvers<AbortSignal>()
    build = (_request, { signal }) => {
      begun.resolve(signal)
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }
    const inventory = createInventory()
    const aborters = ids.map(() => new AbortController())
    const starts = ids.map((id, i) =>
      inventory.spec(id, { signal: (aborters[i] as AbortController).signal, onProgress: () => {} }),
    )
    const ends = Promise.allSettled(starts)
    const signal = await begun.promise
    await vi.waitFor(() => expect(looks).toBe(2))
    aborters[0]?.abort(new Error('given up'))
    await expect(starts[0]).rejects.toThrow('given up')
    expect(signal.aborted).toBe(false)
    aborters[1]?.abort(new Error('given up, too'))
    expect(signal.aborted).toBe(true)
    expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  })
})

it('R12.2 an instance that an update starts is checked as the update says, the others as before until its pivot', async () => {
  kept.add('a')
  const deploy = await admitDeploy(store, 'op-1', { id: 'd1', health: { path: '/up', timeoutMs: 1_000 } })
  store.raw.exec(`update deployments set artifact = 'a' where id = 'd1'`)
  const runs = async ({ add }: Plan) => {
    for (const { id } of add) await store.instances.observe(id, { observed: 'running', address: '127.0.0.1:20100' })
  }
  await runs(deploy)
  await store.transitions.commit(deploy)
  await store.transitions.finish(deploy)
  const update = { id: 'op-2', app: 'hello', startedBy: 'ada', update: true }
  const settings = { health: { timeoutMs: 90_000 } }
  await store.admissions.request({ ...update, change: { type: 'resize', instances: 3 }, settings })
  const resize = { id: 'op-2', app: 'hello', type: 'resize', byHand: null, workflowId: 'w', runId: 'r' } as const
  const plan = await store.admissions.admit(resize)
  const inventory = createInventory()
  const health = async ([instance]: readonly { id: string }[]) =>
    (await inventory.spec(instance?.id as string, caller()))?.health
  expect(await health(plan.add)).toEqual({ path: '/up', timeoutMs: 90_000 })
  expect(await health(plan.keep)).toEqual({ path: '/up', timeoutMs: 1_000 })
  await runs(plan)
  await store.transitions.commit(plan)
  expect(await health(plan.add)).toEqual({ path: '/up', timeoutMs: 90_000 })
  expect(await health(plan.keep)).toEqual({ path: '/up', timeoutMs: 90_000 })
})
