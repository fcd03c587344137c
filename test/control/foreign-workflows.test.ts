import { Client } from '@temporalio/client'
import { beforeEach, describe, expect, it } from 'vitest'
import { TASK_QUEUE } from '../../domain/product.ts'
import type { TestControl } from './control.ts'
import type { TestTemporal } from './temporal.ts'
import { withoutWorker } from './without-worker.ts'

/** Whoever can reach Temporal can take the workflow id of an app. There is no worker here. */
let temporal: TestTemporal
let control: TestControl
let app: string

withoutWorker((parts) => {
  ;({ temporal, control, app } = parts)
})
beforeEach(() => control.call('POST', '/api/2.0/apps', { name: app }))

const deploy = () => control.call('POST', `/api/2.0/apps/${app}/deployments`, { source_code_path: 'shop' })

type Foreign = { type: string; taskQueue: string; memo?: Record<string, unknown>; encoding?: string }

/** As `temporal workflow start --workflow-id app/<name>` does, or a program with a codec of its own. */
async function occupy({ type, encoding, ...options }: Foreign): Promise<{ run: string; end: () => Promise<unknown> }> {
  const client = encoding === undefined ? temporal.client : withCodec(encoding)
  const handle = await client.workflow.start(type, { workflowId: `app/${app}`, args: [{ app }], ...options })
  return { run: handle.firstExecutionRunId, end: () => handle.terminate() }
}

function withCodec(encoding: string): Client {
  const sealed = { metadata: { encoding: Buffer.from(encoding) }, data: Buffer.from('{sealed') }
  const codec = { encode: async (all: unknown[]) => all.map(() => sealed), decode: async () => [] }
  return new Client({ connection: temporal.client.connection, dataConverter: { payloadCodecs: [codec] } })
}

const doctor = async (): Promise<Array<{ name: string; ok: boolean; message: string; hint?: string }>> =>
  (await control.call('GET', '/api/coppice/v1/doctor')).body.checks

/** Temporal's list of workflows follows within moments. */
async function doctorSays(name: string, is: boolean) {
  for (;;) {
    const found = (await doctor()).find((check) => check.name === name)
    if ((found !== undefined) === is) return found
  }
}

const FOREIGN: Array<[words: string, Foreign, why: RegExp]> = [
  ['of another type and queue', { type: 'nightly-report', taskQueue: 'reports' }, /task queue "reports"/],
  ['of an operation type on another queue', { type: 'deploy', taskQueue: 'reports' }, /task queue "reports"/],
  [
    'of another platform in the namespace',
    { type: 'deploy', taskQueue: TASK_QUEUE, memo: { inventory: 'theirs' } },
    /another platform, or an earlier data directory.*theirs/,
  ],
  ...['binary/encrypted', 'json/plain'].map((encoding): [string, Foreign, RegExp] => [
    `whose memo and input nobody can decode (${encoding})`,
    { type: 'deploy', taskQueue: 'reports', memo: { inventory: 'theirs' }, encoding },
    /task queue "reports"/,
  ]),
]

describe('R10.3 a foreign workflow on app/<name>', () => {
  it.each(FOREIGN)(
    '%s: the operation fails at once and says what, why and what to do; the doctor sees it',
    async (...row) => {
      const [, foreign, why] = row
      const { run, end } = await occupy(foreign)
      const begun = performance.now()
      const answer = await deploy()
      expect([answer.status, answer.body.coppice.code]).toEqual([409, 'ForeignWorkflow'])
      // Not after the 5 s that an operation of ours is given to close.
      expect(performance.now() - begun).toBeLessThan(4_000)
      const { message } = answer.body
      expect(message).toContain(`"${foreign.type}", run ${run}`)
      expect(message).toMatch(why)
      const command = `temporal workflow terminate --address ${temporal.address} --namespace default --workflow-id app/${app} --run-id ${run}`
      expect(message).toContain(command)
      // The record of the operation says the same, and the app is free.
      const [record] = await control.store.operations.list({ app })
      expect(record).toMatchObject({ state: 'FAILED', failure: { code: 'ForeignWorkflow' } })
      expect(message).toContain(record?.failure?.message)
      expect((await control.store.apps.get(app))?.operation).toBeNull()

      const seen = await doctorSays(`workflow app/${app}`, true)
      expect(seen).toMatchObject({ ok: false, hint: expect.stringContaining(command) })
      expect(seen?.message).toMatch(why)
      await end()
      await doctorSays(`workflow app/${app}`, false)
      expect((await deploy()).status).toBe(200)
    },
  )

  it('of no operation in the inventory is told as that after the 5 s in which it could have closed', async () => {
    const { run, end } = await occupy({ type: 'deploy', taskQueue: TASK_QUEUE })
    const answer = await deploy()
    expect([answer.status, answer.body.coppice.code]).toEqual([409, 'ForeignWorkflow'])
    expect(answer.body.message).toContain(`run ${run}`)
    expect(answer.body.message).toContain('has no operation of this run')
    await end()
  })

  it('that took the place of an operation is told to whoever cancels that', async () => {
    const { body } = await deploy()
    await temporal.client.workflow.getHandle(`app/${app}`).terminate('the id is wanted')
    const { run, end } = await occupy({ type: 'nightly-report', taskQueue: 'reports' })
    const answer = await control.call('POST', `/api/coppice/v1/operations/${body.operation}/cancel`)
    expect([answer.status, answer.body.coppice.code]).toEqual([409, 'ForeignWorkflow'])
    expect(answer.body.message).toContain(`run ${run}`)
    await end()
  })

  it('is none when an operation of the app runs, nor when it is on an app that is not here', async () => {
    await deploy()
    const elsewhere = { workflowId: 'app/of-somebody-else', taskQueue: 'reports', args: [] }
    const other = await temporal.client.workflow.start('nightly-report', elsewhere)
    const query = `WorkflowId STARTS_WITH "app/" AND ExecutionStatus = "Running"`
    while ((await temporal.client.workflow.count(query)).count < 2);
    const names = (await doctor()).map(({ name }) => name)
    expect(names).not.toContain(`workflow app/${app}`)
    expect(names).not.toContain('workflow app/of-somebody-else')
    await other.terminate()
  })
})
