import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { AppSource } from '../helpers/app-source.ts'
import { Load } from '../helpers/load.ts'
import { type Footprint, type Operation, Platform, until } from '../helpers/platform.ts'

let platform: Platform
let before: Footprint
let load: Load

beforeAll(async () => {
  platform = await Platform.start()
  await platform.write('steady', { version: 'good' })
  await platform.deploy('steady', { instances: 2 })
  before = await platform.footprint()
})
afterAll(() => platform?.stop())
afterEach(() => load?.stop())

type Failing = {
  source: AppSource
  /** For the health check. */
  body?: object
  code: string
  /** What the message has to say. */
  says: RegExp
  step: RegExp
  /** What the last log lines have to show. */
  log?: RegExp
}

/** The deadline of the health check is what ends these. */
const quick = { health_check: { timeout: '2s' } }
const BUILD_INSTANCE = /build instance/

const FAILURES: Record<string, Failing> = {
  'R3.3 whose install fails': {
    source: { brokenInstall: true },
    code: 'BuildFailed',
    says: /npm/,
    step: /Build the artifact/,
    log: /not-there|npm/i,
  },
  'R3.3 that crashes at its start': {
    source: { behaviour: 'crashes at start' },
    code: 'AppCrashedAtStart',
    says: /3/,
    step: BUILD_INSTANCE,
    log: /cannot find my configuration/,
  },
  'R1.4 that listens on another port': {
    source: { behaviour: 'listens on another port' },
    body: quick,
    code: 'AppListensOnWrongPort',
    says: /0\.0\.0\.0:\d+.*DATABRICKS_APP_PORT/s,
    step: BUILD_INSTANCE,
    log: /listening/,
  },
  'R1.4 that listens on loopback only': {
    source: { behaviour: 'listens on loopback only' },
    code: 'AppListensOnLoopback',
    says: /127\.0\.0\.1:\d+.*0\.0\.0\.0/s,
    step: BUILD_INSTANCE,
    log: /listening/,
  },
  'R1.4 that does not listen at all': {
    source: { behaviour: 'does not listen' },
    body: quick,
    code: 'AppDoesNotListen',
    says: /DATABRICKS_APP_PORT/,
    step: BUILD_INSTANCE,
    log: /thinking/,
  },
  'R3.3 whose health check answers 500': {
    source: { behaviour: 'answers 500' },
    body: quick,
    code: 'HealthCheckFailed',
    says: /500/,
    step: BUILD_INSTANCE,
  },
  'R3.3 whose health check never answers': {
    source: { behaviour: 'never answers' },
    body: quick,
    code: 'HealthCheckTimedOut',
    says: /answer/,
    step: BUILD_INSTANCE,
  },
  'R3.3 whose second instance fails after the build instance has succeeded': {
    source: { behaviour: 'crashes in slots but the first' },
    code: 'AppCrashedAtStart',
    says: /4/,
    step: /slot 1/,
    log: /no room in slot 1/,
  },
}

type Seen = { id: string; slot: number; role: string; state: string; pid?: number }
const instancesOf = async (app: string): Promise<Seen[]> =>
  (await platform.stack.api('GET', `/api/coppice/v1/apps/${app}/instances`)).body.instances

describe('a deployment', () => {
  for (const [name, failing] of Object.entries(FAILURES))
    it(`${name} leaves the app serving the old version, says why, and leaves nothing behind`, async () => {
      await platform.write('steady', { ...failing.source, version: 'bad' })
      load = new Load({ url: platform.stack.routerUrl, app: 'steady', rate: 50, slowMs: () => 100 })
      const operation: Operation = await platform.deploy('steady', { body: failing.body ?? {} })
      const answers = await load.stop()

      expect(operation).toMatchObject({ state: 'FAILED', phase: 'compensable', failure: { code: failing.code } })
      const { failure } = operation
      expect(failure?.message).toMatch(failing.says)
      expect(failure?.step).toMatch(failing.step)
      expect(failure?.undo_failures ?? []).toEqual([])
      if (failing.log !== undefined) expect(failure?.log_lines?.join('\n')).toMatch(failing.log)

      expect(answers.length).toBeGreaterThan(0)
      expect(answers.filter(({ status, body }) => status !== 200 || body.version !== 'good').length).toBe(0)
      expect(await platform.footprint()).toEqual(before)
      const { body: app } = await platform.stack.api('GET', '/api/2.0/apps/steady')
      expect(app.app_status.state).toBe('RUNNING')
      expect(app.active_deployment.status.state).toBe('SUCCEEDED')
      expect(app.pending_deployment).toBeUndefined()
      const { body: deployments } = await platform.stack.api('GET', '/api/2.0/apps/steady/deployments')
      expect(deployments.app_deployments[0].status.state).toBe('FAILED')
    })

  for (const workerDies of [false, true])
    it(`R3.3 whose instance crashes after its health check is not switched to${workerDies ? ', also when no worker saw it crash' : ''}`, async () => {
      await platform.write('steady', { behaviour: 'serves at its first start only', version: 'bad' })
      load = new Load({ url: platform.stack.routerUrl, app: 'steady', rate: 50, slowMs: () => 100 })
      const hold = await platform.hold('steady@commit.before')
      const id = await platform.beginDeploy('steady')
      await hold.reached()
      const victim = (await instancesOf('steady')).find(({ role, slot }) => role === 'standby' && slot === 0)
      if (workerDies) await platform.fell('worker')
      process.kill(victim?.pid as number, 'SIGKILL')
      if (workerDies) {
        await hold.release()
        await platform.raise('worker')
      } else {
        await until('the crash to be seen', 30_000, async () => {
          const now = (await instancesOf('steady')).find((instance) => instance.id === victim?.id)
          return now?.state === 'running' ? null : true
        })
        await hold.release()
      }
      const operation = await platform.ended(id)
      const answers = await load.stop()

      expect(operation).toMatchObject({ state: 'FAILED', phase: 'compensable', failure: { code: 'InstanceLost' } })
      expect(operation.failure?.message).toMatch(/slot 0 was healthy/)
      expect(operation.failure?.log_lines?.join('\n')).toMatch(/listening/)
      expect(operation.failure?.undo_failures ?? []).toEqual([])
      expect(answers.length).toBeGreaterThan(0)
      expect(answers.filter(({ status, body }) => status !== 200 || body.version !== 'good')).toEqual([])
      expect(await platform.footprint()).toEqual(before)
    })

  it('R1.4 on loopback is let through with a warning for a standard app', async () => {
    await platform.write('lenient', { behaviour: 'listens on loopback only' })
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'lenient' })
    const operation = await platform.deploy('lenient')
    expect(operation.state).toBe('SUCCEEDED')
    const warning = await platform.event('lenient', ({ kind }) => kind === 'loopbackWarning')
    expect(warning.message).toMatch(/0\.0\.0\.0/)
    expect((await platform.ask('lenient')).status).toBe(200)
  })

  it('R10.3 is refused while another one runs, with who is running what', async () => {
    await platform.write('steady', { behaviour: 'starts slowly', version: 'good' })
    const first = await platform.beginDeploy('steady')
    const second = await platform.stack.api('POST', '/api/2.0/apps/steady/deployments', { source_code_path: 'steady' })
    expect(second.status).toBe(409)
    expect(second.body.message).toMatch(new RegExp(`deploy \\(${first}\\) by .+ runs since`))
    expect((await platform.ended(first)).state).toBe('SUCCEEDED')
  })
})
