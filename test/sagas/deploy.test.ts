import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Load } from '../helpers/load.ts'
import { Platform, until } from '../helpers/platform.ts'

let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

const slowly = () => (Math.random() < 0.3 ? 200 + Math.random() * 200 : 0)

describe('a deployment', () => {
  it('R1.1 runs as several instances behind one URL, with its sessions spread over them', async () => {
    await platform.write('spread')
    await platform.deploy('spread', { instances: 3 })
    const slots = new Set<number | undefined>()
    for (let i = 0; i < 60; i++) slots.add((await platform.ask('spread', { key: `client-${i}` })).body.slot)
    expect([...slots].sort()).toEqual([0, 1, 2])
  })

  it('R3.4 under load fails no request, and nobody sees the old version after the new one', async () => {
    await platform.write('smooth', { version: '1' })
    await platform.deploy('smooth', { instances: 2 })
    await platform.write('smooth', { version: '2' })
    const methods = ['GET', 'GET', 'POST', 'PUT', 'DELETE']
    const load = new Load({
      url: platform.stack.routerUrl,
      app: 'smooth',
      rate: 150,
      slowMs: slowly,
      method: () => methods[Math.floor(Math.random() * methods.length)] as string,
      key: () => `client-${Math.floor(Math.random() * 40)}`,
    })
    await load.more(150)
    const operation = await platform.deploy('smooth')
    await load.more(150)
    const answers = await load.stop()
    expect(operation.state).toBe('SUCCEEDED')
    expect(load.failures()).toEqual([])
    expect(new Set(answers.map(({ body }) => body.version))).toEqual(new Set(['1', '2']))
    // A request that began after an answer of the new version had arrived must not get the old one.
    const firstNew = Math.min(...answers.filter(({ body }) => body.version === '2').map(({ endedAt }) => endedAt))
    expect(answers.filter(({ startedAt, body }) => startedAt > firstNew && body.version === '1')).toEqual([])
  })

  it('R3.3 starts the build instance first, and the others only when it is healthy', async () => {
    await platform.write('gated', { behaviour: 'starts slowly' })
    const { steps = [] } = await platform.deploy('gated', { instances: 3 })
    const starts = steps.filter(({ step }) => step.startsWith('start/'))
    expect(starts).toHaveLength(3)
    const [first, ...others] = starts
    for (const other of others)
      expect(Date.parse(other.start_time)).toBeGreaterThanOrEqual(Date.parse(first?.end_time as string))
  })

  it('R3.5 takes a standard app down the same path, with one instance and no routing cookie', async () => {
    await platform.write('plain')
    await platform.stack.api('POST', '/api/2.0/apps', { name: 'plain' })
    const operation = await platform.deploy('plain')
    expect(operation.state).toBe('SUCCEEDED')
    expect(operation.steps?.map(({ step }) => step.split('/')[0])).toEqual([
      'snapshot',
      'build',
      'start',
      'commit',
      'publish',
      'finish',
    ])
    const answer = await platform.ask('plain')
    expect(answer.status).toBe(200)
    expect(answer.cookies).toEqual([])
  })

  it('R6.2 lets an instance that leaves finish what it has in flight, and gives it nothing new', async () => {
    await platform.write('leaving', { version: '1' })
    await platform.deploy('leaving', { instances: 1 })
    await platform.write('leaving', { version: '2' })
    const long = platform.ask('leaving', { path: '/?slow=3000' })
    const operation = await platform.deploy('leaving')
    expect(await platform.version('leaving')).toBe('2')
    const answer = await long
    expect(answer.body.version).toBe('1')
    expect(answer.status).toBe(200)
    const drained = operation.steps?.find(({ step }) => step.startsWith('drain/'))
    expect(Date.parse(drained?.end_time as string) - Date.parse(drained?.start_time as string)).toBeGreaterThan(500)
  })

  it('R9.3 shows each step in plain words with times as they happen, and afterwards, also while no worker is up', async () => {
    await platform.write('shown')
    const hold = await platform.hold('commit.before')
    const id = await platform.beginDeploy('shown', { instances: 2 })
    await hold.reached()
    const during = await platform.operation(id)
    expect(during.state).toBe('RUNNING')
    expect(during.steps?.map(({ words, state }) => `${words}: ${state}`)).toEqual([
      'Take a snapshot of the source: done',
      'Build the artifact: done',
      'Start the build instance and await its health check: done',
      'Start the instance in slot 1: done',
    ])
    await hold.release()
    await platform.ended(id)
    await platform.fell('worker')
    try {
      const after = await platform.operation(id)
      expect(after.state).toBe('SUCCEEDED')
      for (const step of after.steps ?? []) expect(Date.parse(step.end_time as string)).toBeGreaterThan(0)
    } finally {
      await platform.raise('worker')
    }
  })

  it('R4.1 restarts, stops and starts without building anything again', async () => {
    await platform.write('kept', { version: '1' })
    const first = await platform.deploy('kept', { instances: 2 })
    const deployment = (await platform.stack.api('GET', '/api/2.0/apps/kept')).body.active_deployment.deployment_id
    const log = join(platform.stack.home, 'logs', 'builds', 'kept', `build-${deployment}.log`)
    const built = await readFile(log, 'utf8')
    // The folder changes meanwhile: what runs is the deployment, not the folder.
    await platform.write('kept', { version: '2' })
    for (const [method, path] of [
      ['POST', '/api/coppice/v1/apps/kept/restart'],
      ['POST', '/api/2.0/apps/kept/stop'],
      ['POST', '/api/2.0/apps/kept/start'],
    ] as const) {
      expect((await platform.stack.api(method, path, {})).status).toBe(200)
      const operation = await platform.ended((await platform.lastOperation('kept')).id)
      expect(operation.state).toBe('SUCCEEDED')
      expect(operation.id).not.toBe(first.id)
      expect(operation.steps?.map(({ step }) => step)).not.toContain('build')
    }
    expect(await readFile(log, 'utf8')).toBe(built)
    expect(await platform.version('kept')).toBe('1')
  })

  it('R10.2 leaves nothing of an app that is deleted', async () => {
    const before = await platform.footprint()
    await platform.write('gone')
    await platform.deploy('gone', { instances: 2 })
    expect((await platform.stack.api('DELETE', '/api/2.0/apps/gone')).status).toBe(200)
    await platform.ended((await platform.lastOperation('gone')).id)
    expect((await platform.stack.api('GET', '/api/2.0/apps/gone')).status).toBe(404)
    expect(await platform.footprint()).toEqual(before)
    // The operation does not wait for the table without it: until then visitors are told that it is being deleted.
    await until('the router to know it no more', 30_000, async () =>
      (await platform.ask('gone')).status === 404 ? true : null,
    )
  })
})
