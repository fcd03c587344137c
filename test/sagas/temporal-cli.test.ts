import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OPERATION_TYPES } from '../../domain/states.ts'
import { Platform, until } from '../helpers/platform.ts'

let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

/** `temporal workflow execute`: starts and waits, without an id. */
const execute = (type: string, input: string) =>
  platform.temporal('workflow', 'execute', '--task-queue', 'coppice', '--type', type, '--input', input)

async function begin(type: string, input: string): Promise<string> {
  const { out } = await platform.temporal(
    'workflow',
    'start',
    '--task-queue',
    'coppice',
    '--type',
    type,
    '--input',
    input,
  )
  return /WorkflowId\s+(\S+)/.exec(out)?.[1] as string
}

const describeWorkflow = async (id: string): Promise<string> =>
  (await platform.temporal('workflow', 'describe', '-w', id)).out

describe('the temporal CLI alone', () => {
  it('R10.4 deploys, restarts, stops, starts and deletes without an id being made up', async () => {
    await platform.write('cli')
    const deployed = await execute('deploy', '{"app":"cli","sourceCodePath":"cli","instances":2}')
    expect(deployed.out).toMatch(/"app":"cli"/)
    expect(deployed.code).toBe(0)
    expect(await platform.version('cli')).toBe('1')
    for (const type of ['restart', 'stop', 'start']) expect((await execute(type, '{"app":"cli"}')).code).toBe(0)
    expect(await platform.version('cli')).toBe('1')
    expect((await execute('delete', '{"app":"cli"}')).code).toBe(0)
    expect((await platform.stack.api('GET', '/api/2.0/apps/cli')).status).toBe(404)
  })

  it('R10.4 shows what a running operation is at', async () => {
    await platform.write('watched')
    const hold = await platform.hold('commit.before')
    await begin('deploy', '{"app":"watched","sourceCodePath":"watched"}')
    await hold.reached()
    const metadata = (await platform.temporal('workflow', 'metadata', '-w', 'app/watched', '--output', 'json')).out
    expect(metadata).toMatch(/\[x\] Build the artifact/)
    expect(metadata).toMatch(/\[ \] Switch over/)
    await hold.release()
    await until('the operation to close', 20_000, async () =>
      /COMPLETED/.test(await describeWorkflow('app/watched')) ? true : null,
    )
  })

  it('R10.4 cancels before the pivot, through the launcher as through the operation itself', async () => {
    await platform.write('halted')
    const before = await platform.footprint()
    for (const whom of ['launcher', 'operation']) {
      const hold = await platform.hold('start.before')
      const launcher = await begin('deploy', '{"app":"halted","sourceCodePath":"halted"}')
      await hold.reached()
      const id = whom === 'launcher' ? launcher : 'app/halted'
      expect((await platform.temporal('workflow', 'cancel', '-w', id)).code).toBe(0)
      await hold.release()
      await until('the operation to be cancelled', 20_000, async () =>
        /CANCELED/.test(await describeWorkflow('app/halted')) ? true : null,
      )
      // A launcher that nobody cancelled has failed: what it was to do has not been done.
      await until('the launcher to end', 20_000, async () =>
        (whom === 'launcher' ? /CANCELED/ : /FAILED/).test(await describeWorkflow(launcher)) ? true : null,
      )
      // The app came into being with this operation, so it has gone with it.
      expect((await platform.stack.api('GET', '/api/2.0/apps/halted')).status).toBe(404)
      expect(await platform.footprint()).toEqual(before)
    }
  })

  it('R10.3 is told who runs what when an app is taken', async () => {
    await platform.write('taken')
    const hold = await platform.hold('build.before')
    const first = await begin('deploy', '{"app":"taken","sourceCodePath":"taken"}')
    await hold.reached()
    const second = await execute('deploy', '{"app":"taken","sourceCodePath":"taken"}')
    expect(second.code).toBe(1)
    expect(second.out).toMatch(
      new RegExp(`Cannot change app taken: deploy \\(op-[^)]+\\) by temporal workflow ${first} runs since`),
    )
    const api = await platform.stack.api('POST', '/api/2.0/apps/taken/stop', {})
    expect(api.status).toBe(409)
    expect(api.body.message).toMatch(/deploy \(op-/)
    await hold.release()
    await platform.ended((await platform.lastOperation('taken')).id)
  })

  it('R10.3 is told of a foreign workflow on the id of the app at once, and of an id that is the lock of another app', async () => {
    const start = (id: string, queue: string, type: string, input: string) =>
      platform.temporal('workflow', 'start', '-w', id, '-t', queue, '--type', type, '-i', input)
    await start('app/cli-held', 'reports', 'nightly', '{}')
    const { code, out } = await execute('deploy', '{"app":"cli-held","sourceCodePath":"watched"}')
    expect(code).toBe(1)
    expect(out).toMatch(/taken by a workflow "nightly".*task queue "reports"/s)
    expect(out).toMatch(/temporal workflow terminate .*--workflow-id app\/cli-held --run-id [0-9a-f-]+/)
    expect((await platform.stack.api('GET', '/api/2.0/apps/cli-held')).status).toBe(404)
    await platform.temporal('workflow', 'terminate', '-w', 'app/cli-held')

    await start('app/cli-other', 'coppice', 'stop', '{"app":"watched"}')
    const refused = await platform.temporal('workflow', 'result', '-w', 'app/cli-other')
    expect([refused.code, refused.out]).toEqual([
      1,
      expect.stringContaining('app/cli-other keeps others from that app'),
    ])
    expect((await platform.lastOperation('watched')).type).toBe('deploy')
  })

  const WRONG: Record<string, [string, string, RegExp]> = {
    'no app': ['deploy', '{"sourceCodePath":"cli"}', /app: .*Example: --input '\{"app":"hello"/s],
    'a bad name': ['stop', '{"app":"Not A Name"}', /app: must be 2 to 30 lowercase/],
    'an unknown field': ['deploy', '{"app":"cli","replicas":3}', /replicas: is not a known field/],
    'a wrong type': ['deploy', '{"app":"cli","instances":"two"}', /instances: .*number/],
    'no object at all': ['restart', '"cli"', /takes one JSON object/],
    'environment values': ['deploy', '{"app":"cli","env":{"A":"b"}}', /env: is not a known field/],
    'a source that is not there': ['deploy', '{"app":"cli","sourceCodePath":"nowhere"}', /no folder nowhere/],
    'a source that leaves the root': ['deploy', '{"app":"cli","sourceCodePath":"../.."}', /must not contain "\.\."/],
    'too many instances': ['deploy', '{"app":"cli","sourceCodePath":"watched","instances":6}', /may have 5 at most/],
    'an app that is not there': ['stop', '{"app":"nobody"}', /App not found: nobody/],
    'an operation that is not there': ['stop', '{"app":"watched","operation":"op-1"}', /there is no operation op-1/],
  }
  for (const [what, [type, input, says]] of Object.entries(WRONG))
    it(`R10.5 with ${what} fails at once with the field and the reason, and changes nothing`, async () => {
      const before = await platform.footprint()
      const apps = (await platform.stack.api('GET', '/api/2.0/apps')).body
      const answer = await execute(type, input)
      expect(answer.code).toBe(1)
      expect(answer.out).toMatch(says)
      expect(await platform.footprint()).toEqual(before)
      expect((await platform.stack.api('GET', '/api/2.0/apps')).body).toEqual(apps)
    })

  it('R10.5 with a type that does not exist is told the known ones', async () => {
    const answer = await execute('deplyo', '{"app":"cli"}')
    expect(answer.code).toBe(1)
    expect(answer.out).toContain('unknown workflow type')
    expect(answer.out).toContain(`the types are ${OPERATION_TYPES.join(', ')}`)
  })
})
