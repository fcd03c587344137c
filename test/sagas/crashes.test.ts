import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { coppice } from '../cli/cli.ts'
import { Load } from '../helpers/load.ts'
import { type Hold, type Operation, Platform, until } from '../helpers/platform.ts'

/**
 * An app `victim` with two instances of version "old" is deployed anew as "new"; at a point of that saga something is
 * killed. Whatever it was: a client that asks all the time sees no failure, the operation ends wholly new or wholly
 * old, and nothing is left over.
 */
let platform: Platform
let load: Load | undefined
let holds: Hold[] = []

beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

beforeEach(async () => {
  await platform.write('victim', { version: 'old' })
  const ready = await platform.deploy('victim', { instances: 2 })
  expect(ready.state).toBe('SUCCEEDED')
  await platform.settled({ victim: 2 })
  load = new Load({ url: platform.stack.routerUrl, app: 'victim', rate: 40, slowMs: () => 50 })
})
afterEach(async () => {
  for (const hold of holds) await hold.release()
  holds = []
  await platform.raiseAll()
  await load?.stop()
})

/** Begins the deployment of "new" and returns when the saga stands at `point`. */
async function deployUpTo(point: string): Promise<{ operation: string; hold: Hold }> {
  await platform.write('victim', { version: 'new' })
  const hold = await platform.hold(point)
  holds.push(hold)
  const operation = await platform.beginDeploy('victim')
  await hold.reached()
  return { operation, hold }
}

/** What has to hold after everything that can happen. */
async function allIsWell(id: string, end: 'new' | 'old'): Promise<Operation> {
  const operation = await platform.ended(id)
  expect(operation.state).toMatch(end === 'new' ? /SUCCEEDED/ : /FAILED|CANCELLED/)
  expect(operation.failure?.undo_failures ?? []).toEqual([])
  await platform.settled({ victim: 2 })
  expect(await platform.version('victim')).toBe(end)
  const answers = await load?.stop()
  expect(answers?.length).toBeGreaterThan(0)
  expect(answers?.filter(({ status }) => status !== 200)).toEqual([])
  const { body } = await platform.stack.api('GET', '/api/2.0/apps/victim')
  expect(body.app_status.running_instances).toBe(2)
  return operation
}

const outcome = async (id: string) => ((await platform.ended(id)).state === 'SUCCEEDED' ? 'new' : 'old')

const firstStepAfter = (operation: Operation, at: number) =>
  Math.min(
    ...(operation.steps ?? [])
      .flatMap(({ start_time, end_time }) => [start_time, end_time])
      .map((time) => Date.parse(time as string))
      .filter((time) => time > at),
  )

describe('SIGKILL of the worker', () => {
  const POINTS = [
    'build.before',
    'build.recorded',
    'start.before',
    'start.effect',
    'start.recorded',
    'commit.before',
    'commit.recorded',
    'publish.effect',
    'drain.before',
    'stop.effect',
    'finish.recorded',
  ]
  for (const point of POINTS)
    it(`R12.5 at ${point}: the saga goes on within 10 s of the restart and ends as it should`, async () => {
      const { operation, hold } = await deployUpTo(point)
      await platform.fell('worker')
      await hold.release()
      await platform.raise('worker')
      const restarted = Date.now()
      const ended = await allIsWell(operation, 'new')
      if (point !== 'finish.recorded') expect(firstStepAfter(ended, restarted) - restarted).toBeLessThan(10_000)
    })

  it('R12.5 in the middle of a build ends that build, and the saga builds again', async () => {
    await platform.write('victim', { version: 'new', build: 'node -e "setTimeout(() => {}, 2000)"' })
    const operation = await platform.beginDeploy('victim')
    await until('the build to run', 30_000, async () => {
      const { steps = [] } = await platform.operation(operation)
      return steps.find(({ step, detail }) => step === 'build' && detail !== '') ?? null
    })
    await platform.fell('worker')
    await platform.raise('worker')
    await allIsWell(operation, 'new')
  })

  it('R12.5 while its undo runs: the undo goes on to its end', async () => {
    const { operation, hold } = await deployUpTo('commit.before')
    const undo = await platform.hold('remove.effect')
    holds.push(undo)
    await platform.stack.api('POST', `/api/coppice/v1/operations/${operation}/cancel`, {})
    await hold.release()
    // The pivot may have been under way when the cancel came; then it is too late, and that is right as well.
    const came = await Promise.race([undo.reached().then(() => 'undo'), platform.ended(operation).then(() => 'ended')])
    if (came === 'ended') return void (await allIsWell(operation, 'new'))
    await platform.fell('worker')
    await undo.release()
    await platform.raise('worker')
    await allIsWell(operation, 'old')
  })
})

describe('SIGKILL of the others', () => {
  it('R12.5 of the control plane between publication and acknowledgement: the saga waits and goes on', async () => {
    const { operation, hold } = await deployUpTo('commit.before')
    const published = await platform.hold('publish.before')
    holds.push(published)
    await platform.fell('control')
    await hold.release()
    await published.reached()
    await published.release()
    // The pivot has taken place, and no router has heard of it. Nothing may be stopped while nobody can acknowledge.
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect(platform.processes().length).toBeGreaterThanOrEqual(4)
    await platform.raise('control')
    await allIsWell(operation, 'new')
  })

  for (const point of ['build.before', 'start.effect', 'commit.recorded', 'drain.before'])
    it(`R12.6 of the Temporal server at ${point}: the saga goes on when it is back`, async () => {
      const { operation, hold } = await deployUpTo(point)
      await platform.fell('temporal')
      await hold.release()
      await platform.raise('temporal')
      await allIsWell(operation, 'new')
    })

  it('R10.2 of everything at once, the instances excepted', async () => {
    const { operation, hold } = await deployUpTo('start.effect')
    await load?.stop()
    await Promise.all((['worker', 'control', 'temporal', 'router'] as const).map((name) => platform.fell(name)))
    await hold.release()
    for (const name of ['temporal', 'control', 'router', 'worker'] as const) await platform.raise(name)
    load = new Load({ url: platform.stack.routerUrl, app: 'victim', rate: 40, slowMs: () => 50 })
    await allIsWell(operation, 'new')
  })
})

describe('temporal workflow terminate', () => {
  const ENDS = {
    'build.before': 'old',
    'start.before': 'old',
    'start.effect': 'old',
    // The worker has the pivot in hand already when the workflow is ended, and carries it out, unless the repair is first:
    // on a busy machine the `temporal` program takes longer to end than that to begin.
    'commit.before': 'new or old',
    'publish.before': 'new',
    'drain.before': 'new',
    'stop.effect': 'new',
  } as const
  for (const [point, end] of Object.entries(ENDS))
    it(`R10.6 at ${point}: the operation is repaired and the app is wholly ${end}`, async () => {
      const { operation, hold } = await deployUpTo(point)
      expect((await platform.temporal('workflow', 'terminate', '-w', 'app/victim')).code).toBe(0)
      await hold.release()
      await allIsWell(operation, end === 'new or old' ? await outcome(operation) : end)
    })

  it('R10.6 with the whole database of Temporal lost: open operations are repaired', async () => {
    const { operation, hold } = await deployUpTo('start.effect')
    await platform.loseTemporal()
    await hold.release()
    await allIsWell(operation, 'old')
  })
})

describe('cancel', () => {
  for (const point of ['snapshot.before', 'build.before', 'start.before', 'start.effect'])
    it(`R12.7 at ${point}: everything is as before it`, async () => {
      const before = await platform.footprint()
      const { operation, hold } = await deployUpTo(point)
      const answer = await platform.stack.api('POST', `/api/coppice/v1/operations/${operation}/cancel`, {})
      expect(answer.status).toBe(200)
      await hold.release()
      expect((await allIsWell(operation, 'old')).state).toBe('CANCELLED')
      expect(await platform.footprint()).toEqual(before)
    })

  /** The workflow hears of it while it waits. */
  async function cancelInSight(): Promise<void> {
    expect((await platform.temporal('workflow', 'cancel', '-w', 'app/victim')).code).toBe(0)
    await until('the workflow to see its cancel', 30_000, async () => {
      const { out } = await platform.temporal('workflow', 'show', '-w', 'app/victim', '--output', 'json')
      const { events } = JSON.parse(out) as { events: Array<{ eventType: string }> }
      const seen = events.map(({ eventType }) => eventType)
      const asked = seen.indexOf('EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED')
      return asked >= 0 && seen.lastIndexOf('EVENT_TYPE_WORKFLOW_TASK_COMPLETED') > asked ? true : null
    })
  }

  it('R12.5 at admit.recorded, and SIGKILL of the worker then: the operation itself takes back what it was admitted for', async () => {
    const { operation, hold } = await deployUpTo('admit.recorded')
    const undo = await platform.hold('abandon.before')
    holds.push(undo)
    await cancelInSight()
    await hold.release()
    await undo.reached()
    await platform.fell('worker')
    await undo.release()
    await platform.raise('worker')
    expect((await allIsWell(operation, 'old')).state).toBe('CANCELLED')
    expect((await platform.lastOperation('victim')).type).toBe('deploy')
  })

  for (const point of ['admit.before', 'admit.recorded'])
    it(`R12.7 at ${point}, which is not interrupted for it: the operation itself takes back what it was admitted for`, async () => {
      const before = await platform.footprint()
      const { operation, hold } = await deployUpTo(point)
      await cancelInSight()
      await hold.release()
      expect((await allIsWell(operation, 'old')).state).toBe('CANCELLED')
      expect((await platform.lastOperation('victim')).type).toBe('deploy')
      expect(await platform.footprint()).toEqual(before)
    })

  it('R10.4 of what no worker has begun yet: it ends as cancelled, by itself', async () => {
    await platform.write('victim', { version: 'new' })
    await platform.fell('worker')
    const operation = await platform.beginDeploy('victim')
    const answer = await platform.stack.api('POST', `/api/coppice/v1/operations/${operation}/cancel`, {})
    expect(answer.status).toBe(200)
    await platform.raise('worker')
    const ended = await allIsWell(operation, 'old')
    expect(ended).toMatchObject({ state: 'CANCELLED', steps: [], failure: { code: 'Cancelled' } })
    expect((await platform.lastOperation('victim')).type).toBe('deploy')
  })

  it('R10.4 after the pivot is too late: the answer says so, and the operation completes', async () => {
    const { operation, hold } = await deployUpTo('publish.before')
    const answer = await platform.stack.api('POST', `/api/coppice/v1/operations/${operation}/cancel`, {})
    expect(answer.status).toBe(409)
    expect(answer.body.message).toMatch(/completes/)
    expect((await platform.temporal('workflow', 'cancel', '-w', 'app/victim')).code).toBe(0)
    await hold.release()
    await allIsWell(operation, 'new')
  })

  it('R10.4 a cancel that meets the pivot of a stop, which follows its admission at once, is told that it was too late', async () => {
    await platform.write('sleeper')
    await platform.deploy('sleeper', { instances: 1 })
    const hold = await platform.hold('sleeper@commit.before')
    holds.push(hold)
    await platform.stack.api('POST', '/api/2.0/apps/sleeper/stop', {})
    await hold.reached()
    const { id } = await platform.lastOperation('sleeper')
    const cancel = coppice(['operations', 'cancel', id], { home: platform.stack.home })
    await cancel.says('is being cancelled')
    await hold.release()
    expect(await cancel.ended).toMatchObject({ code: 0, out: expect.stringContaining('It was too late: the stop') })
    expect((await platform.operation(id)).state).toBe('SUCCEEDED')
    await platform.settled({ victim: 2 })
  })
})
