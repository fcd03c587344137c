import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Platform } from '../helpers/platform.ts'

let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

describe('operations', () => {
  it('R10.3 of twenty apps at once all succeed', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `crowd-${i}`)
    const ends = await Promise.all(
      names.map(async (name) => {
        await platform.write(name, { version: name })
        return platform.ended(await platform.beginDeploy(name, { instances: 1 }), 110_000)
      }),
    )
    expect(ends.map(({ state, failure }) => failure ?? state)).toEqual(names.map(() => 'SUCCEEDED'))
    for (const name of names) expect(await platform.version(name)).toBe(name)
    await platform.settled(Object.fromEntries(names.map((name) => [name, 1])))
  })

  it('R10.3 are accepted right after the one before was seen as finished, 200 times out of 200', async () => {
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'quick' })
    const statuses: number[] = []
    for (let i = 0; i < 200; i++) {
      const answer = await platform.stack.api('POST', `/api/2.0/apps/quick/${i % 2 === 0 ? 'stop' : 'start'}`, {})
      statuses.push(answer.status)
      // Asked without a pause: the moment between the last write and the close of the workflow is the one that counts.
      while ((await platform.stack.api('GET', '/api/2.0/apps/quick')).body.compute_status.state.endsWith('ING'));
    }
    expect(statuses).toEqual(Array.from({ length: 200 }, () => 200))
    const { body } = await platform.stack.api('GET', '/api/coppice/v1/operations?app=quick')
    expect(new Set(body.operations.map((operation: { state: string }) => operation.state))).toEqual(
      new Set(['SUCCEEDED']),
    )
  })

  it('R10.3 racing for one app: exactly one is let in, by whichever doors they come', async () => {
    await platform.write('raced')
    await platform.deploy('raced', { instances: 1 })
    for (let i = 0; i < 5; i++) {
      const hold = await platform.hold('commit.before')
      const results = await Promise.all([
        platform.stack.api('POST', '/api/coppice/v1/apps/raced/restart', {}).then(({ status }) => status === 200),
        platform.stack
          .api('POST', '/api/2.0/apps/raced/deployments', { source_code_path: 'raced' })
          .then(({ status }) => status === 200),
        platform
          .temporal('workflow', 'start', '-t', 'coppice', '--type', 'restart', '-i', '{"app":"raced"}')
          .then(() => null),
      ])
      await hold.reached()
      const { body } = await platform.stack.api('GET', '/api/coppice/v1/operations?app=raced')
      const open = body.operations.filter((operation: { state: string }) => operation.state === 'RUNNING')
      expect(open).toHaveLength(1)
      expect(results.filter((won) => won === true).length).toBe(open[0].door === 'api' ? 1 : 0)
      await hold.release()
      await platform.ended(open[0].id)
    }
  })
})
