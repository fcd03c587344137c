import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EnvVar } from '../domain/app-config.ts'
import type { Plan } from '../domain/plan.ts'
import { openStore, type Store } from './store.ts'
import { admitDeploy, openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
  for (const name of ['override', 'yaml', 'unused']) await store.secrets.set('hello', name, 'value')
})
afterEach(() => store.dispose())

/** A deployment that is admitted: one secret by a variable of its own, one by its app.yaml once the source is there. */
async function pending(id: string): Promise<Plan> {
  const env: EnvVar[] = [{ name: 'A', valueFrom: 'override' }]
  return admitDeploy(store, id, { id: `d-${id}`, env })
}

async function active(id: string, secrets = ['yaml', 'override']): Promise<Plan> {
  const plan = await pending(id)
  await store.secrets.need('hello', `d-${id}`, secrets)
  for (const instance of plan.add)
    await store.instances.observe(instance.id, { observed: 'running', address: '127.0.0.1:1' })
  await store.transitions.commit(plan)
  await store.transitions.finish(plan)
  return plan
}

const names = async () => (await store.secrets.list('hello')).map(({ name }) => name)

describe('R3.7 the key of the secrets', () => {
  const keyFile = () => join(store.home, 'secret.key')
  const opened: Store[] = []
  const reopen = async () => {
    const other = await openStore({ home: store.home })
    opened.push(other)
    return other
  }
  afterEach(async () => {
    for (const other of opened.splice(0)) await other.close()
  })
  const lost = { code: 'SecretKeyLost' }

  it('is never made anew while something is sealed with it; put back, it opens all, and nothing was sealed with another', async () => {
    const key = readFileSync(keyFile(), 'utf8')
    rmSync(keyFile())
    const other = await reopen()
    await expect(other.secrets.values('hello')).rejects.toMatchObject(lost)
    await expect(other.secrets.set('hello', 'unused', 'new')).rejects.toMatchObject(lost)
    await expect(other.secrets.assertReadable()).rejects.toMatchObject(lost)
    expect(existsSync(keyFile())).toBe(false)
    // Routes go on without it.
    expect((await other.routes.table({ domains: ['localhost'] })).apps).toHaveLength(1)
    writeFileSync(keyFile(), key)
    expect((await other.secrets.values('hello')).get('unused')).toBe('value')
    await other.secrets.assertReadable()
  })

  it.each([
    ['another', '11'.repeat(32)],
    ['half', 'abcd'],
  ])('is told to be the wrong one where there is %s', async (_words, text) => {
    writeFileSync(keyFile(), text)
    const other = await reopen()
    await expect(other.secrets.values('hello')).rejects.toMatchObject(lost)
    await expect(other.secrets.assertReadable()).rejects.toMatchObject(lost)
  })

  it('is made where nothing is sealed', async () => {
    for (const name of ['override', 'yaml', 'unused']) await store.secrets.remove('hello', name)
    rmSync(keyFile())
    const other = await reopen()
    await other.secrets.set('hello', 'unused', 'new')
    expect((await other.secrets.values('hello')).get('unused')).toBe('new')
  })
})

describe('R3.7 a secret', () => {
  it('of an app that there is not is refused, and not kept for one that may come', async () => {
    await expect(store.secrets.set('ghost', 'name', 'value')).rejects.toMatchObject({
      code: 'NotFound',
      message: expect.stringContaining('ghost'),
    })
    await store.apps.create({ name: 'ghost', mode: 'scaled', instances: 1, creator: 'ada' })
    expect(await store.secrets.list('ghost')).toEqual([])
  })

  it.each(['override', 'yaml'])(
    'that the running deployment needs (%s) is not deleted, and the deployment is named',
    async (name) => {
      await active('op-1')
      await expect(store.secrets.remove('hello', name)).rejects.toMatchObject({
        code: 'SecretInUse',
        message: expect.stringMatching(new RegExp(`Secret ${name} of hello is in use: deployment d-op-1`)),
        details: { secret: name, deployments: ['d-op-1'] },
      })
      expect(await names()).toContain(name)
      await store.secrets.remove('hello', name, { force: true })
      expect(await names()).not.toContain(name)
      const events = await store.events.after(0, { app: 'hello' })
      expect(events.at(-1)?.message).toBe(`Secret ${name} of hello was deleted, although it is in use`)
    },
  )

  it('that a deployment under way needs is not deleted from its request on', async () => {
    await pending('op-1')
    await expect(store.secrets.remove('hello', 'override')).rejects.toMatchObject({ code: 'SecretInUse' })
    await store.secrets.remove('hello', 'yaml')
    await expect(store.secrets.need('hello', 'd-op-1', ['override', 'yaml'])).rejects.toMatchObject({
      code: 'SecretMissing',
      message: 'App hello has no secret named yaml',
    })
  })

  it('that only a deployment of before needs, or none, is deleted', async () => {
    await active('op-1')
    await active('op-2', [])
    for (const name of ['unused', 'yaml', 'override']) await store.secrets.remove('hello', name)
    expect(await names()).toEqual([])
    await expect(store.secrets.remove('hello', 'yaml')).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('of a deployment of an earlier version is not deleted once its needs were noted', async () => {
    await active('op-1')
    store.raw.exec(`update deployments set secrets = null, artifact = 'a'`)
    expect(await store.deployments.withoutSecrets()).toEqual([{ id: 'd-op-1', artifact: 'a' }])
    await store.secrets.note('d-op-1', ['yaml'])
    expect(await store.deployments.withoutSecrets()).toEqual([])
    await expect(store.secrets.remove('hello', 'yaml')).rejects.toMatchObject({ code: 'SecretInUse' })
  })
})

describe('R12.9 instances that are held back', () => {
  it('begin anew when a secret of their app is set, and those of no other app do', async () => {
    const plan = await active('op-1')
    const id = plan.add[0]?.id as string
    const held = { observed: 'crashLoop', crashes: 9, restartAt: store.clock.now + 300_000 } as const
    await store.instances.observe(id, held)
    await store.apps.create({ name: 'other', mode: 'standard', instances: 1, creator: 'ada' })
    await store.secrets.set('other', 'any', 'value')
    expect(await store.instances.begunAnew()).toEqual([])
    expect(await store.instances.get(id)).toMatchObject({ crashes: 9, restartAt: held.restartAt })

    await store.secrets.set('hello', 'yaml', 'mended')
    expect(await store.instances.begunAnew()).toEqual([id])
    expect(await store.instances.get(id)).toMatchObject({ crashes: 0, restartAt: store.clock.now })
  })

  it.each(['suspended', 'running'] as const)(
    'R12.2 one that is %s and has a time to get well keeps it',
    async (observed) => {
      const id = (await active('op-1')).add[0]?.id as string
      const ailing = { observed, crashes: 0, restartAt: store.clock.now + 120_000 }
      await store.instances.observe(id, ailing)
      await store.instances.beginAnew()
      await store.secrets.set('hello', 'yaml', 'other')
      expect(await store.instances.get(id)).toMatchObject(ailing)
      expect(await store.instances.begunAnew()).toEqual([])
    },
  )

  it('begin anew with the platform; one that runs has nothing to begin', async () => {
    const plan = await active('op-1')
    const id = plan.add[0]?.id as string
    await store.instances.observe(id, { observed: 'running', crashes: 2, restartAt: null })
    await store.instances.beginAnew()
    expect(await store.instances.get(id)).toMatchObject({ crashes: 2 })
    await store.instances.observe(id, { observed: 'crashed', crashes: 3, restartAt: 1 })
    await store.instances.beginAnew()
    expect(await store.instances.begunAnew()).toEqual([id])
  })
})
