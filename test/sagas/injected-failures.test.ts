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
let steps: Partial<Record<Name, (...args: never[]) => unknown>>
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
          return steps[name]?.(...(args as never[]))
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
const deployment = (app: string, slots = [0]) => ({
  app,
  operation: `op-${app}`,
  type: 'deploy',
  deployment: 'd1',
  build: true,
  add: slots.map((slot) => ({ id: `${app}-1-${slot}`, slot })),
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

  describe('R13.8 of which one instance does not go', () => {
    beforeEach(() => {
      steps.removeInstance = (_operation: string, _owner: string, id: string) => {
        if (id.endsWith('-1')) fails('Unavailable', 'its process does not end')()
      }
    })
    const undone = () => callsOf('removeInstance').map(([operation, , id]) => [operation, id])
    const left = (app: string) => [`remove instance ${app}-1-1: its process does not end`]

    it('says so when it is undone, and takes the others away', async () => {
      steps.admit = () => ({ ...deployment('stuck', [0, 1]), build: false })
      steps.startInstance = (_operation: string, { slot }: { slot: number }) => {
        if (slot === 1) fails('AppCrashedAtStart', 'it ended with exit code 4')()
      }
      const { failure } = await run('restart', 'stuck')
      expect(undone()).toEqual([1, 0].map((slot) => ['op-stuck', `stuck-1-${slot}`]))
      const told = { code: 'AppCrashedAtStart', message: 'it ended with exit code 4', undoFailures: left('stuck') }
      expect(callsOf('abandon')[0]?.[1]).toMatchObject({ state: 'FAILED', failure: told })
      expect(failure).toMatchObject({ details: [told] })
    })

    it('says so when it lost its workflow and is repaired, and takes the others away', async () => {
      const plan = deployment('lost', [0, 1])
      const lost = { id: 'op-lost', type: 'deploy', phase: 'compensable', deployment: 'd1', plan }
      steps.takeOver = () => ({ lost, version: 0 })
      expect((await run('repair', 'lost', {})).failure).toBeNull()
      expect(undone()).toEqual([1, 0].map((slot) => ['op-lost', `lost-1-${slot}`]))
      expect(callsOf('abandon')[0]?.slice(0, 2)).toMatchObject([
        'op-lost',
        { state: 'FAILED', failure: { code: 'Terminated', undoFailures: left('lost') } },
      ])
    })
  })
})
