/**
 * `node scripts/record-histories.ts` records the histories that `test/histories/replay.test.ts` replays (DESIGN D17,
 * R14.2): it starts a stack, drives every workflow type to its good and its bad ends, and stores what Temporal kept of
 * each run, without what belongs to this machine. Once a version is in use its histories stay: they are what proves
 * that sagas which it left open go on. Record again only what has never been in anybody's hands.
 */

import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import { appWorkflowId, TASK_QUEUE } from '../domain/product.ts'
import { OPERATION_TYPES, type OperationType } from '../domain/states.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { type Operation, Platform, until } from '../test/helpers/platform.ts'
import { ROOT } from './stack-options.ts'

const FOLDER = join(ROOT, 'test', 'histories')
const SCALED = 'recorded'
const STANDARD = 'standard'

const platform = await Platform.start()
const connection = await Connection.connect({ address: platform.stack.temporalAddress })
const client = new Client({ connection })
const written: string[] = []
const FOLDERS = [platform.stack.home, platform.sources, ROOT]
/** As in `1234@host` and `router-host`. */
const HOST = new RegExp(`(?<=[@-])${hostname().replaceAll('.', '\\.')}\\b`, 'g')
try {
  for (const entry of await readdir(FOLDER, { withFileTypes: true }).catch(() => []))
    if (entry.isDirectory()) await removeTree(join(FOLDER, entry.name))
  await goodEnds()
  await failures()
  await interruptions()
  await repairs()
  await refusals()
} finally {
  await connection.close()
  await platform.stop()
}
process.stdout.write(`${written.join('\n')}\n${written.length} histories\n`)
process.exit(0)

async function goodEnds(): Promise<void> {
  await platform.write(SCALED, { version: '1' })
  await succeeds(await platform.beginDeploy(SCALED, { instances: 2 }))
  await store('deploy', 'first-by-api')
  await platform.write(SCALED, { version: '2' })
  await succeeds(await platform.beginDeploy(SCALED))
  await store('deploy', 'second-by-api')
  await byHand('resize', { app: SCALED, instances: 3 }, 'up')
  await byHand('resize', { app: SCALED, instances: 2 }, 'down')
  await byHand('resize', { app: SCALED, computeSize: 'LARGE' }, 'other-size')
  await byHand('rollback', { app: SCALED }, 'to-the-one-before')
  await byHand('restart', { app: SCALED }, 'done')
  await byHand('stop', { app: SCALED }, 'done')
  await byHand('resize', { app: SCALED, instances: 3 }, 'while-stopped')
  await byHand('start', { app: SCALED }, 'done')

  await platform.write(STANDARD)
  await byHand('deploy', { app: STANDARD, sourceCodePath: STANDARD }, 'standard-by-hand')
  await byHand('convert', { app: STANDARD, to: 'scaled' }, 'to-scaled')
  await byHand('convert', { app: STANDARD, to: 'standard' }, 'to-standard')
  await byHand('delete', { app: STANDARD }, 'done')
}

/** The undo, after each step that can fail. */
async function failures(): Promise<void> {
  const fails = async (what: string, source: Parameters<Platform['write']>[1]) => {
    await platform.write(SCALED, { version: what, ...source })
    const ended = await platform.ended(
      await platform.beginDeploy(SCALED, { body: { health_check: { timeout: '2s' } } }),
    )
    if (ended.state !== 'FAILED') throw new Error(`deploy ${what} ended as ${ended.state}`)
    await store('deploy', what)
  }
  await fails('build-fails', { brokenInstall: true })
  await fails('build-instance-crashes', { behaviour: 'crashes at start' })
  await fails('another-instance-crashes', { behaviour: 'crashes in slots but the first' })
  await fails('never-healthy', { behaviour: 'never answers' })

  await platform.write(STANDARD, { behaviour: 'listens on loopback only' })
  await execute('deploy', { app: STANDARD, sourceCodePath: STANDARD })
  await byHand('convert', { app: STANDARD }, 'fails-on-loopback', { ends: 'fails' })
}

/** Cancels on both sides of the pivot, and the death of a worker in between. */
async function interruptions(): Promise<void> {
  const cancelAt = async (point: string, what: string, ends: Operation['state'], type: OperationType = 'deploy') => {
    await platform.write(SCALED, { version: what })
    const hold = await platform.hold(point)
    const begun = type === 'deploy' ? platform.beginDeploy(SCALED) : start(type, { app: SCALED })
    await hold.reached()
    await client.workflow.getHandle(appWorkflowId(SCALED)).cancel()
    await hold.release()
    await begun
    await closed(SCALED)
    const { state } = await platform.lastOperation(SCALED)
    if (state !== ends) throw new Error(`${type} ${what} ended as ${state}, not ${ends}`)
    await store(type, what)
  }
  await cancelAt('build.before', 'cancelled-in-the-build', 'CANCELLED')
  await cancelAt('start.effect', 'cancelled-at-the-build-instance', 'CANCELLED')
  await cancelAt('publish.before', 'cancelled-too-late', 'SUCCEEDED')
  await cancelAt('start.before', 'cancelled', 'CANCELLED', 'restart')
  await cancelAt('drain.before', 'cancelled-too-late', 'SUCCEEDED', 'restart')

  await platform.write(SCALED, { version: 'orphaned' })
  const hold = await platform.hold('start.effect')
  const operation = await platform.beginDeploy(SCALED)
  await hold.reached()
  await platform.fell('worker')
  await hold.release()
  await platform.raise('worker')
  await succeeds(operation)
  await store('deploy', 'worker-killed')
}

async function repairs(): Promise<void> {
  const terminateAt = async (point: string, what: string, ends: Operation['state']) => {
    await platform.write(SCALED, { version: what })
    const hold = await platform.hold(point)
    const operation = await platform.beginDeploy(SCALED)
    await hold.reached()
    await client.workflow.getHandle(appWorkflowId(SCALED)).terminate('recorded')
    await hold.release()
    const { state } = await platform.ended(operation)
    if (state !== ends) throw new Error(`the deployment of "${what}" ended as ${state}, not ${ends}`)
    await closed(SCALED)
    await store('repair', what)
  }
  await terminateAt('start.effect', 'back', 'FAILED')
  await terminateAt('drain.before', 'forward', 'SUCCEEDED')
  await byHand('repair', { app: SCALED }, 'nothing-to-repair')
}

async function refusals(): Promise<void> {
  await byHand('deploy', { app: SCALED, replicas: 3 }, 'wrong-input', { ends: 'fails', stored: 'launcher' })
  await byHand('resize', { app: SCALED, instances: 64 }, 'past-the-limit', { ends: 'fails' })
  const hold = await platform.hold('start.before')
  const first = start('restart', { app: SCALED })
  await hold.reached()
  await byHand('deploy', { app: SCALED }, 'app-is-taken', { ends: 'fails', stored: 'launcher' })
  await hold.release()
  await first
  await closed(SCALED)
  await byHand('deplyo' as OperationType, { app: SCALED }, 'type', { ends: 'fails', stored: 'launcher' })
}

type Stored = 'launcher' | 'operation' | 'both'

/** Starts the type as the `temporal` CLI does, under an id of its own, and stores the launcher and its operation. */
async function byHand(
  type: OperationType,
  input: { app: string; [field: string]: unknown },
  what: string,
  { ends = 'succeeds', stored = 'both' }: { ends?: 'succeeds' | 'fails'; stored?: Stored } = {},
): Promise<void> {
  const launcher = await start(type, input)
  const failure = await client.workflow
    .getHandle(launcher)
    .result()
    .then(
      () => null,
      (error: Error) => error,
    )
  if ((failure === null) !== (ends === 'succeeds')) throw failure ?? new Error(`${type} ${what} did not fail`)
  if (stored !== 'operation') await store(type, `${what}.launcher`, launcher)
  if (stored !== 'launcher') await store(type, what, appWorkflowId(input.app))
}

async function start(type: OperationType, input: object): Promise<string> {
  const workflowId = `by-hand-${type}-${written.length}`
  await client.workflow.start(type, { workflowId, taskQueue: TASK_QUEUE, args: [input] })
  return workflowId
}

async function execute(type: OperationType, input: object): Promise<void> {
  await client.workflow.getHandle(await start(type, input)).result()
}

async function succeeds(operation: string): Promise<void> {
  const { state, failure } = await platform.ended(operation)
  if (state !== 'SUCCEEDED') throw new Error(`${operation} ended as ${state}: ${failure?.message}`)
  await closed(SCALED)
}

async function closed(app: string): Promise<void> {
  await until(`the workflow of ${app} to close`, 30_000, async () => {
    const { status } = await client.workflow.getHandle(appWorkflowId(app)).describe()
    return status.name === 'RUNNING' ? null : true
  })
}

// ---- storing -----------------------------------------------------------------------------------------------------

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

async function store(type: string, what: string, workflowId = appWorkflowId(SCALED)): Promise<void> {
  const { code, out } = await platform.temporal('workflow', 'show', '-w', workflowId, '--output', 'json')
  if (code !== 0) throw new Error(out)
  const { events } = withoutMachine(JSON.parse(out)) as { events: Json[] }
  const text = `{"events":[\n${events.map((event) => JSON.stringify(event)).join(',\n')}\n]}\n`
  refuseMachine(text, `${type}/${what}`)
  const folder = OPERATION_TYPES.some((known) => known === type) ? type : 'unknown'
  await mkdir(join(FOLDER, folder), { recursive: true })
  await writeFile(join(FOLDER, folder, `${what}.json`), text)
  written.push(`${folder}/${what}`)
}

/** Who ran it, where its code lay, which queue was its worker's own: none of it decides how a workflow goes on. */
function withoutMachine(value: Json, key = ''): Json {
  if (Array.isArray(value)) return value.map((item) => withoutMachine(item))
  if (typeof value === 'object' && value !== null) {
    const sticky = value.kind === 'TASK_QUEUE_KIND_STICKY'
    return Object.fromEntries(
      Object.entries(value)
        .filter(([name]) => !['stackTrace', 'identity', 'workerVersion'].includes(name))
        .map(([name, inner]) => [name, sticky && name === 'name' ? 'sticky' : withoutMachine(inner, name)]),
    )
  }
  if (typeof value !== 'string') return value
  return key === 'data' ? recoded(value) : withoutPaths(value)
}

/** Payloads are base64 of JSON; log lines in them may name folders. */
function recoded(data: string): string {
  const text = Buffer.from(data, 'base64').toString('utf8')
  const clean = withoutPaths(text)
  return clean === text ? data : Buffer.from(clean, 'utf8').toString('base64')
}

function withoutPaths(text: string): string {
  return FOLDERS.reduce((rest, folder) => rest.replaceAll(folder, '/srv/coppice'), text).replaceAll(HOST, 'host')
}

/** What slipped through ends the recording rather than in the repository. */
function refuseMachine(text: string, what: string): void {
  const payloads = [...text.matchAll(/"data":"([^"]+)"/g)].map(([, data]) => Buffer.from(data as string, 'base64'))
  for (const place of [text, ...payloads.map(String)])
    for (const name of [...FOLDERS, tmpdir(), `@${hostname()}`])
      if (place.includes(name)) throw new Error(`${what} names ${name}: ${place.slice(0, 500)}`)
}
