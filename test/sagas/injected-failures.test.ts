import { join } from 'node:path'
import { WorkflowFailedError } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Activities } from '../../activities/activities.ts'
import { appWorkflowId, TASK_QUEUE } from '../../domain/product.ts'
import { startTestTemporal, type TestTemporal } from '../control/temporal.ts'

/** The workflows on a real Temporal server; their steps do what a test says. */
let temporal: TestTemporal
let connection: NativeConnection
let worker: Worker
let working: Promise<void>

type Name = keyof Activities
const NAMES: Name[] = [
  'admit',
  'refuse',
  'commit',
  'finish',
  'abandon',
  'takeOver',
  'lockHolder',
  'snapshotSource',
  'buildArtifact',
  'startInstance',
  'publishRoutes',
  'drainInstance',
  'stopInstance',
  'removeInstance',
]
let steps: Partial<Record<Name, () => unknown>>
let called: Array<[Name, ...unknown[]]>
const callsOf = (name: Name) => called.filter(([called]) => called === name).map(([, ...args]) => args)

beforeAll(async () => {
  // What is expected to fail says so where the test looks.
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) })
  temporal = await startTestTemporal()
  connection = await NativeConnection.connect({ address: temporal.address })
  worker = await Worker.create({
    connection,
    taskQueue: TASK_QUEUE,
    workflowsPath: join(import.meta.dirname, '..', '..', 'workflows', 'index.ts'),
    activities: Object.fromEntries(
      NAMES.map((name) => [
        name,
        async (...args: unknown[]) => {
          called.push([name, ...args])
          return steps[name]?.()
        },
      ]),
    ),
  })
  working = worker.run()
})
afterAll(async () => {
  worker?.shutdown()
  await working
  await connection?.close()
  await temporal?.stop()
})
beforeEach(() => {
  steps = {}
  called = []
})

const fails = (code: string, message: string) => () => {
  throw ApplicationFailure.nonRetryable(message, code)
}
const deployment = (app: string) => ({
  app,
  operation: `op-${app}`,
  type: 'deploy',
  deployment: 'd1',
  build: true,
  add: [{ id: `${app}-1-0`, slot: 0 }],
  keep: [],
  remove: [],
  drainTimeoutMs: 0,
})

/** Runs it to its end, as the API starts it; by hand it has no id of an operation. */
async function run(type: string, app: string, input: { operation?: string } = { operation: `op-${app}` }) {
  const handle = await temporal.client.workflow.start(type, {
    workflowId: appWorkflowId(app),
    taskQueue: TASK_QUEUE,
    args: [{ app, ...input }],
  })
  const error = await handle.result().catch((error) => error)
  return { handle, failure: error instanceof WorkflowFailedError ? error.cause : null }
}

describe('an operation', () => {
  it('R10.3 of the API that is not admitted is refused with the reason, so that its app is free; one by hand was never written down', async () => {
    steps.admit = fails('InvalidState', 'it has no deployment')
    const { failure } = await run('start', 'empty')
    const told = { code: 'InvalidState', message: 'it has no deployment', step: 'Admit the operation' }
    expect(callsOf('refuse')).toEqual([['op-empty', told]])
    expect(failure).toMatchObject({ type: 'InvalidState', details: [told] })
    called = []
    await run('start', 'by-hand', {})
    expect(callsOf('admit')).toHaveLength(1)
    expect(callsOf('refuse')).toEqual([])
  })

  it('R9.3 R10.4 that fails says once why and at which step, and shows that step as failed', async () => {
    steps.admit = () => deployment('broken')
    steps.snapshotSource = () => ({ source: 's' })
    steps.buildArtifact = fails('BuildFailed', 'npm ci ended with exit code 1')
    const { handle, failure } = await run('deploy', 'broken')
    const told = { code: 'BuildFailed', message: 'npm ci ended with exit code 1', step: 'Build the artifact' }
    expect(callsOf('abandon')).toEqual([['op-broken', { state: 'FAILED', failure: told }, 'op-broken']])
    expect(failure).toMatchObject({ type: 'BuildFailed', details: [told] })
    expect(failure?.message.split('Step "Build the artifact"')).toHaveLength(2)
    const { currentDetails } = (await handle.query('__temporal_workflow_metadata')) as { currentDetails: string }
    expect(currentDetails).toBe('- [x] Take a snapshot of the source\n- [!] Build the artifact')
  })

  it('R12.7 that is cancelled is undone, and says at which step it was', async () => {
    steps.admit = () => deployment('halted')
    steps.snapshotSource = async () => {
      await temporal.client.workflow.getHandle(appWorkflowId('halted')).cancel()
      return { source: 's' }
    }
    await run('deploy', 'halted')
    expect(callsOf('abandon')).toEqual([
      [
        'op-halted',
        {
          state: 'CANCELLED',
          failure: { code: 'Cancelled', message: expect.any(String), step: expect.stringMatching(/snapshot|artifact/) },
        },
        'op-halted',
      ],
    ])
    expect(callsOf('commit')).toEqual([])
  })
})
