/** Issue 4 as a person does it: convert, resize, roll back, duplicate, rotate, on the real stack. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { type Operation, Platform } from '../helpers/platform.ts'
import { coppice, type Ran } from './cli.ts'

let platform: Platform

beforeAll(async () => {
  platform = await Platform.start({ env: { COPPICE_MAX_SCALED_APPS: '' } })
})
afterAll(() => platform?.stop())

const cli = (...args: string[]): Promise<Ran> => coppice(args, { home: platform.stack.home }).ended
const done = async (...args: string[]): Promise<Ran> => {
  const ran = await cli(...args)
  expect(ran, ran.err).toMatchObject({ code: 0 })
  return ran
}
const api = async (method: string, path: string, body?: unknown) => (await platform.stack.api(method, path, body)).body
const app = (name: string) => api('GET', `/api/2.0/apps/${name}`)
const builds = async (name: string): Promise<number> => {
  const { operations } = await api('GET', `/api/coppice/v1/operations?app=${name}`)
  const all = operations as Array<{ id: string }>
  const steps: Operation[] = await Promise.all(all.map(({ id }) => platform.operation(id)))
  return steps.filter((each) => each.steps?.some(({ step }) => step === 'build')).length
}

/** Answers with what it was told in confidence. */
const CONFIDANT = `import { createServer } from 'node:http'
createServer((_, response) => response.end(JSON.stringify({ version: process.env.TOLD }))).listen(process.env.DATABRICKS_APP_PORT, '0.0.0.0')`

describe('coppice apps', () => {
  it('R5.1 R5.2 R5.3 R6.1 R4.1 convert, resize and roll back a running app without a build, and say what they did', async () => {
    await platform.write('shop', { version: '1' })
    await done('apps', 'deploy', 'shop', '--source-code-path', 'shop')
    expect((await cli('apps', 'resize', 'shop', '--instances', '2')).err).toContain('convert with 1 first')

    const converted = await done('apps', 'convert', 'shop')
    expect(converted.out).toContain('shop, a scaled app with 1 instance: App has status')
    expect(converted.err).toContain('2 or more instances are recommended')
    expect((await cli('apps', 'convert', 'shop')).err).toContain('is a scaled app already')

    for (const key of ['ada', 'bob', 'eve']) await platform.ask('shop', { key })
    const dry = await done('apps', 'resize', 'shop', '--instances', '3', '--dry-run')
    expect(dry.out).toMatch(
      /resize of shop would start 2 instances, keep 1 and stop 0\.\n\d+ of \d+ sessions would move/,
    )
    expect((await app('shop')).compute_min_instances).toBe(1)

    await done('apps', 'resize', 'shop', '--instances', '3')
    expect((await app('shop')).app_status.running_instances).toBe(3)
    await done('apps', 'update', 'shop', '--instances', '2', '--compute-size', 'large', '--description', 'a shop')
    expect(await app('shop')).toMatchObject({ compute_min_instances: 2, compute_size: 'LARGE', description: 'a shop' })
    expect((await done('workspace', 'get')).out).toMatch(
      /running +2 instances, 8 vCPU, 24 GB\nused so far +0\.\d*[1-9]/,
    )

    await platform.write('shop', { version: '2' })
    await done('apps', 'deploy', 'shop', '--source-code-path', 'shop')
    expect(await platform.version('shop')).toBe('2')
    await done('apps', 'rollback', 'shop')
    expect(await platform.version('shop')).toBe('1')

    await done('apps', 'convert', 'shop', '--to', 'standard')
    expect(await app('shop')).not.toHaveProperty('compute_min_instances')
    expect((await platform.ask('shop')).cookies).toEqual([])
    expect(await builds('shop')).toBe(2)
    await platform.settled({ shop: 1 })
  })

  it('R5.6 convert that fails exits 1 with the step, the cause and the last log lines; the app serves on as it was', async () => {
    await platform.write('homebody', { behaviour: 'listens on loopback only' })
    await done('apps', 'deploy', 'homebody', '--source-code-path', 'homebody')
    const ran = await cli('apps', 'convert', 'homebody')
    expect(ran.code).toBe(1)
    expect(ran.err).toMatch(/failed at the step "Start the instance in slot 0/)
    expect(ran.err).toContain('Listen on 0.0.0.0')
    expect(ran.err).toContain('  | listening')
    expect(await app('homebody')).toMatchObject({ mode: 'standard' })
    expect(await api('GET', '/api/2.0/apps/homebody/update')).toMatchObject({
      status: { state: 'FAILED', message: expect.stringMatching(/conver.* failed at the step .*listening/) },
    })
    expect((await platform.ask('homebody')).status).toBe(200)
    await done('apps', 'delete', 'homebody')
  })

  it('R5.5 duplicate copies an app that starts without a build', async () => {
    await done('apps', 'duplicate', 'shop', 'shop-trial', '--start')
    expect(await platform.version('shop-trial')).toBe('1')
    expect(await builds('shop-trial')).toBe(0)
    await done('apps', 'convert', 'shop-trial')
    expect(await app('shop')).toMatchObject({ mode: 'standard' })
    expect((await cli('apps', 'duplicate', 'shop', 'shop-trial')).code).toBe(4)
    await done('apps', 'delete', 'shop-trial')
  })

  it('R3.7 secrets: a missing one is named before the build; a rotated one is there at the next start; none is shown', async () => {
    await platform.write('confidant')
    await writeFile(join(platform.sources, 'confidant', 'server.mjs'), CONFIDANT)
    await writeFile(
      join(platform.sources, 'confidant', 'app.yaml'),
      'command: [node, server.mjs]\nenv:\n  - name: TOLD\n    valueFrom: told\n',
    )
    const missing = await cli('apps', 'deploy', 'confidant', '--source-code-path', 'confidant')
    expect(missing.err).toMatch(/no secret named told/)

    const set = (value: string) =>
      coppice(['apps', 'secrets', 'set', 'confidant', 'told'], { home: platform.stack.home, stdin: `${value}\n` }).ended
    const said = [await set('whisper-1')]
    await done('apps', 'deploy', 'confidant', '--source-code-path', 'confidant')
    expect(await platform.version('confidant')).toBe('whisper-1')
    const rotated = coppice(['apps', 'secrets', 'set', 'confidant', 'told', '--from-env', 'NEW'], {
      home: platform.stack.home,
      env: { NEW: 'whisper-2' },
    })
    said.push(await rotated.ended)
    expect(await platform.version('confidant')).toBe('whisper-1')
    await done('apps', 'restart', 'confidant')
    expect(await platform.version('confidant')).toBe('whisper-2')

    said.push(await done('apps', 'secrets', 'list', 'confidant'), await done('-o', 'json', 'apps', 'get', 'confidant'))
    expect(said[2]?.out).toContain('told')
    expect(JSON.stringify(said)).not.toContain('whisper')
    expect((await cli('apps', 'secrets', 'set', 'confidant', 'told')).err).toContain('there is no value')
    const inUse = await cli('apps', 'secrets', 'delete', 'confidant', 'told')
    expect(inUse.err).toMatch(/Secret told of confidant is in use: deployment \w+ .*--force/s)
    expect((await done('apps', 'secrets', 'list', 'confidant')).out).toContain('told')
    await done('apps', 'secrets', 'delete', 'confidant', 'told', '--force')
    expect((await done('apps', 'secrets', 'list', 'confidant')).out).toContain('has no secrets')
    await done('apps', 'delete', 'confidant')
  })

  it('R8.3 sessions and rebalance: tell who has how many, move at most what they say', async () => {
    await done('apps', 'duplicate', 'shop', 'fair')
    await done('apps', 'start', 'fair')
    expect((await cli('apps', 'rebalance', 'fair')).err).toContain('nothing to rebalance')
    await done('apps', 'convert', 'fair')
    await done('apps', 'resize', 'fair', '--instances', '2')
    expect((await done('apps', 'sessions', 'fair')).out).toMatch(/SLOT +INSTANCE +SESSIONS\n0 .*\n1 .*\n\d+ in all/)
    const { out } = await done('-o', 'json', 'apps', 'rebalance', 'fair')
    const { at_most } = JSON.parse(out)
    expect((await done('apps', 'rebalance', 'fair', '--status')).out).toContain(`of at most ${at_most} sessions`)
    await done('apps', 'delete', 'fair')
  })
})

describe('limits', () => {
  it('R2.3 the sixth scaled app is refused with what to do, and that helps', async () => {
    for (let i = 1; i <= 5; i++) await done('apps', 'create', `scaled-${i}`, '--instances', '2')
    const refused = await cli('apps', 'create', 'scaled-6', '--instances', '2')
    expect(refused.code).toBe(4)
    expect(refused.err).toMatch(/may have 5, and 5 are in use/)
    expect(refused.err).toContain('coppice workspace set')
    await done('workspace', 'set', '--max-scaled-apps', '6')
    await done('apps', 'create', 'scaled-6', '--instances', '2')
    expect((await done('workspace', 'get')).out).toMatch(/scaled apps +6 of at most 6/)
    for (let i = 1; i <= 6; i++) await done('apps', 'delete', `scaled-${i}`)
  })

  it('R2.1 R2.2 a user cannot turn the preview on; with it off scaled apps serve on and can be converted back', async () => {
    await done('apps', 'convert', 'shop')
    const token = (await done('tokens', 'create', 'ada')).out.trim()
    const asUser = (...args: string[]) =>
      coppice(args, { home: platform.stack.home, env: { COPPICE_TOKEN: token } }).ended
    await done('workspace', 'set', '--horizontal-scaling', 'off')
    expect(await asUser('workspace', 'set', '--horizontal-scaling', 'on')).toMatchObject({
      code: 4,
      err: expect.stringContaining('Ask a workspace admin'),
    })
    expect((await asUser('apps', 'create', 'more', '--instances', '2')).err).toContain('preview')
    expect(await platform.version('shop')).toBe('1')
    const back = await asUser('apps', 'convert', 'shop', '--to', 'standard')
    expect(back.code, back.err).toBe(0)
    expect((await asUser('operations', 'list', '--app', 'shop')).out.split('\n')[1]).toMatch(/convert .*ada$/)
    expect((await cli('apps', 'convert', 'shop')).err).toContain('--horizontal-scaling on')
    await done('tokens', 'delete', 'ada')
    expect((await asUser('apps', 'list')).err).toContain('not one of this platform')
    await done('workspace', 'set', '--horizontal-scaling', 'on')
  })
})

describe('coppice artifacts', () => {
  it('R4.3 lists, prunes what nothing needs, and finds what is damaged', async () => {
    const { out } = await done('-o', 'json', 'artifacts', 'list')
    const kept = JSON.parse(out) as Array<{ key: string; kind: string; pinned: boolean }>
    expect(kept.filter(({ pinned }) => pinned).length).toBeGreaterThan(0)
    // In the place of the folder to which things are taken there is a file: nothing can be taken out.
    const trash = join(platform.stack.home, 'artifacts', 'trash')
    await removeTree(trash)
    await writeFile(trash, '')
    const stuck = await cli('artifacts', 'prune', '--older-than', '0s')
    expect(stuck).toMatchObject({ code: 1, out: expect.stringMatching(/^Not removed: \S+ \(EEXIST/m) })
    await rm(trash)
    await done('artifacts', 'prune', '--older-than', '0s')
    const after = JSON.parse((await done('-o', 'json', 'artifacts', 'list')).out) as typeof kept
    expect(after.every(({ pinned }) => pinned)).toBe(true)
    expect((await done('artifacts', 'scrub')).out).toContain('none was damaged')
    const victim = after.find(({ kind }) => kind === 'artifact')?.key as string
    await rm(join(platform.stack.home, 'artifacts', 'kept', victim, 'manifest'))
    await removeTree(trash)
    await writeFile(trash, '')
    const unchecked = await cli('artifacts', 'scrub')
    expect(unchecked).toMatchObject({ code: 1, out: expect.stringContaining(`Not checked: ${victim} (EEXIST`) })
    await rm(trash)
    expect((await done('artifacts', 'scrub')).out).toContain(victim)
    await done('apps', 'restart', 'shop')
    expect(await platform.version('shop')).toBe('1')
  })
})

it('R3.6 a command of the deployment counts where the source has none, and goes along with a restart and a rollback', async () => {
  await platform.write('bare', { version: '1' })
  for (const name of ['app.yaml', 'package.json']) await rm(join(platform.sources, 'bare', name))
  // A standard one: the preview is off by now.
  await done('apps', 'create', 'bare')
  const command = ['node', 'server.mjs']
  expect((await platform.deploy('bare', { body: { command } })).state).toBe('SUCCEEDED')
  await platform.write('bare', { version: '2' })
  await platform.deploy('bare')
  expect(await platform.version('bare')).toBe('2')
  await done('apps', 'rollback', 'bare')
  await done('apps', 'restart', 'bare')
  expect(await platform.version('bare')).toBe('1')
})
