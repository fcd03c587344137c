import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, Load } from '../helpers/load.ts'
import { Platform } from '../helpers/platform.ts'
import { ServingRecord } from './serving-record.ts'

/**
 * Convert, resize and roll back under a load of 200 requests a second with slow handlers mixed in: no failed request,
 * never fewer healthy serving instances than the smaller of before and after, no session moved that need not move.
 */
let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

const CLIENTS = 60

/**
 * Runs `change` in the middle of a load; every client has a key of its own.
 *
 * @param atLeast healthy serving instances at any time: the smaller number of before and after.
 */
async function underLoad(
  app: string,
  atLeast: number,
  change: () => Promise<unknown>,
): Promise<{ answers: Answer[]; moved: string[] }> {
  const record = ServingRecord.begin(platform.stack.home, app)
  const slots = new Map<string, Set<number | undefined>>()
  let next = 0
  const load = new Load({
    url: platform.stack.routerUrl,
    app,
    rate: 200,
    slowMs: () => (Math.random() < 0.2 ? 200 + Math.random() * 200 : 0),
    method: () => (Math.random() < 0.7 ? 'GET' : 'POST'),
    // In turn, so that each client is heard before the change and after it.
    key: () => `client-${next++ % CLIENTS}`,
    onAnswer: (key, { body }) => slots.set(key ?? '', (slots.get(key ?? '') ?? new Set()).add(body.slot)),
  })
  await load.more(200)
  await change()
  await load.more(200)
  const answers = await load.stop()
  expect(record.end().fewest).toBe(atLeast)
  expect(load.failures()).toEqual([])
  return { answers, moved: [...slots].filter(([, seen]) => seen.size > 1).map(([key]) => key) }
}

async function execute(type: string, input: object): Promise<void> {
  const { code, out } = await platform.temporal(
    ...['workflow', 'execute', '--task-queue', 'coppice', '--type', type, '--input', JSON.stringify(input)],
  )
  if (code !== 0) throw new Error(out)
}

const builds = async (app: string) => {
  const { body } = await platform.stack.api('GET', `/api/coppice/v1/operations?app=${app}`)
  const operations = await Promise.all(body.operations.map(({ id }: { id: string }) => platform.operation(id)))
  return operations
    .filter(({ steps }) => steps?.some((each: { step: string }) => each.step === 'build'))
    .map(({ type }) => type)
}

describe('under load', () => {
  it('R5.1 R5.3 a conversion to scaled and back fails no request', async () => {
    await platform.write('convertible')
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'convertible' })
    await platform.deploy('convertible')
    await underLoad('convertible', 1, () => execute('convert', { app: 'convertible', to: 'scaled' }))
    expect((await platform.stack.api('GET', '/api/2.0/apps/convertible')).body).toMatchObject({
      compute_min_instances: 1,
      compute_max_instances: 1,
    })
    expect((await platform.ask('convertible')).cookies).not.toEqual([])
    await execute('resize', { app: 'convertible', instances: 2 })
    await underLoad('convertible', 1, () => execute('convert', { app: 'convertible', to: 'standard' }))
    expect((await platform.stack.api('GET', '/api/2.0/apps/convertible')).body.compute_min_instances).toBeUndefined()
    expect((await platform.ask('convertible')).cookies).toEqual([])
    await platform.settled({ convertible: 1 })
    expect(await builds('convertible')).toEqual(['deploy'])
  })

  it('R6.1 R8.2 a resize 1→5→2 fails no request and moves no session that need not move', async () => {
    await platform.write('elastic')
    await platform.deploy('elastic', { instances: 1 })
    await underLoad('elastic', 1, () => execute('resize', { app: 'elastic', instances: 5 }))
    const before = await slotsOf('elastic')
    const { moved } = await underLoad('elastic', 2, () => execute('resize', { app: 'elastic', instances: 2 }))
    const leaving = [...before].filter(([, slot]) => slot >= 2).map(([key]) => key)
    expect(moved.toSorted()).toEqual(leaving.toSorted())
    await platform.settled({ convertible: 1, elastic: 2 })
    expect(await builds('elastic')).toEqual(['deploy'])
  })

  it('R6.1 R4.1 a change of size and a rollback fail no request, move nobody and build nothing', async () => {
    await platform.write('sized', { version: '1' })
    await platform.deploy('sized', { instances: 2 })
    const { moved } = await underLoad('sized', 2, () => execute('resize', { app: 'sized', computeSize: 'LARGE' }))
    expect(moved).toEqual([])
    await platform.write('sized', { version: '2' })
    await platform.deploy('sized')
    expect(await platform.version('sized')).toBe('2')
    const rolled = await underLoad('sized', 2, () => execute('rollback', { app: 'sized' }))
    expect(rolled.moved).toEqual([])
    expect(await platform.version('sized')).toBe('1')
    expect(await builds('sized')).toEqual(['deploy', 'deploy'])
  })

  it('R5.6 a conversion that fails leaves the app serving in its old mode, with the step and the last log lines', async () => {
    await platform.write('homebody', { behaviour: 'listens on loopback only' })
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'homebody' })
    expect((await platform.deploy('homebody')).state).toBe('SUCCEEDED')
    await underLoad('homebody', 1, () =>
      expect(execute('convert', { app: 'homebody', to: 'scaled' })).rejects.toThrow(/loopback|127\.0\.0\.1/),
    )
    const operation = await platform.lastOperation('homebody')
    expect(operation).toMatchObject({ type: 'convert', state: 'FAILED', failure: { code: 'AppListensOnLoopback' } })
    expect(operation.failure?.step).toMatch(/slot 0/)
    expect(operation.failure?.log_lines?.join('\n')).toMatch(/listening/)
    expect((await platform.stack.api('GET', '/api/2.0/apps/homebody')).body.compute_min_instances).toBeUndefined()
    expect((await platform.ask('homebody')).status).toBe(200)
  })

  async function slotsOf(app: string): Promise<Map<string, number>> {
    const slots = new Map<string, number>()
    for (let i = 0; i < CLIENTS; i++) {
      const key = `client-${i}`
      slots.set(key, (await platform.ask(app, { key })).body.slot as number)
    }
    return slots
  }
})
