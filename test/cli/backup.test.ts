/** R14.3 on the real stack: what a backup took while everything ran serves again elsewhere. */
import { execFileSync } from 'node:child_process'
import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ask } from '../helpers/load.ts'
import { Platform, until } from '../helpers/platform.ts'
import { startTestStack } from '../helpers/stack.ts'
import { coppice, type Ran } from './cli.ts'

let platform: Platform
let folder: string
let file: string
let backup: Ran

const cli = (home: string, ...args: string[]): Promise<Ran> => coppice(args, { home }).ended

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-backup-'))
  file = join(folder, 'kept.tar.gz')
  platform = await Platform.start()
  for (const version of ['1', '2']) {
    await platform.write('shop', { version })
    await platform.deploy('shop', { instances: 2 })
  }
  await platform.stack.api('PUT', '/api/coppice/v1/apps/shop/secrets/told', { value: 'whisper' })
  backup = await cli(platform.stack.home, 'backup', file)
})
afterAll(async () => {
  await platform?.stop()
  await removeTree(folder)
})

describe('R14.3 coppice backup', () => {
  it('writes one file that only its owner can read, beside a running platform, and prints its name', async () => {
    expect(backup, backup.err).toMatchObject({ code: 0, out: `${file}\n` })
    expect(backup.err).toMatch(/and 4 artifacts and sources/)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await readdir(folder)).toEqual(['kept.tar.gz'])
    expect((await cli(platform.stack.home, 'backup', file)).err).toContain('is there already')
  })

  it('R14.4 without a name keeps the five newest in the data directory', async () => {
    for (let i = 0; i < 6; i++) expect((await cli(platform.stack.home, 'backup')).code).toBe(0)
    expect(await readdir(join(platform.stack.home, 'backups'))).toHaveLength(5)
  })

  it('of a folder that is no data directory is refused', async () => {
    expect(await cli(folder, 'backup')).toMatchObject({ code: 2, err: expect.stringContaining('not a data directory') })
  })
})

describe('R14.3 coppice restore', () => {
  it('is refused on a running platform and on a folder in use, and changes neither', async () => {
    const before = await readFile(join(platform.stack.home, 'token'), 'utf8')
    const running = await cli(platform.stack.home, 'restore', file)
    expect(running).toMatchObject({ code: 2, err: expect.stringContaining('A platform runs on') })
    expect(await readFile(join(platform.stack.home, 'token'), 'utf8')).toBe(before)
    const inside = await cli(platform.stack.home, 'restore', join(platform.stack.home, 'token'))
    expect(inside.err).toContain('move it elsewhere first')
    const used = join(folder, 'used')
    await mkdir(used)
    await writeFile(join(used, 'mine.txt'), 'mine')
    expect((await cli(used, 'restore', file)).err).toContain('is not empty')
    expect(await readdir(used)).toEqual(['mine.txt'])
    await removeTree(used)
  })

  it('of what is no backup, or half of one, or holds what none holds, leaves nothing', async () => {
    const bad = join(folder, 'bad')
    await mkdir(bad)
    await writeFile(join(bad, 'text'), 'nonsense')
    await writeFile(join(bad, 'half'), await readFile(file))
    await truncate(join(bad, 'half'), Math.floor((await stat(file)).size / 2))
    for (const [name, entry] of [
      ['climbs', '../outside'],
      ['foreign', 'instances/x'],
      ['empty', null],
    ] as const) {
      const tar = pack()
      if (entry !== null) tar.entry({ name: entry }, 'x')
      tar.finalize()
      const chunks: Buffer[] = []
      for await (const chunk of tar.pipe(createGzip())) chunks.push(chunk as Buffer)
      await writeFile(join(bad, name), Buffer.concat(chunks))
    }
    for (const name of await readdir(bad)) {
      const ran = await cli(join(folder, 'target'), 'restore', join(bad, name))
      expect(ran, name).toMatchObject({ code: 2, err: expect.stringContaining('not a whole backup') })
    }
    expect((await cli(join(folder, 'target'), 'restore', join(bad, 'none'))).err).toContain('There is no file')
    expect((await readdir(folder)).sort()).toEqual(['bad', 'kept.tar.gz'])
  })

  it('R14.3 that is killed leaves a key beside the data directory no longer than until the next one', async () => {
    const target = join(folder, 'killed')
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    const running = coppice(['restore', pipe], { home: target })
    const half = (await readFile(file)).subarray(0, (await stat(file)).size - 1_000)
    const writing = createWriteStream(pipe)
    writing.on('error', () => undefined)
    writing.write(half)
    const leftovers = async () => (await readdir(folder)).filter((name) => name.startsWith('killed.restoring-'))
    const [aside] = await until('the key to be unpacked', 30_000, async () => {
      const found = (await leftovers()).filter((name) => existsSync(join(folder, name, 'secret.key')))
      return found.length > 0 ? found : null
    })
    expect((await stat(join(folder, aside as string))).mode & 0o777).toBe(0o700)
    process.kill(Number(/restoring-(\d+)/.exec(aside as string)?.[1]), 'SIGKILL')
    await running.ended
    writing.destroy()
    await rm(pipe)
    expect(await leftovers()).toEqual([aside])
    expect((await cli(target, 'down', '--purge')).code).toBe(0)
    expect(await leftovers()).toEqual([])
  })

  it('brings everything back: apps serve without a build, secrets open, tokens open, earlier deployments are there', async () => {
    const home = join(folder, 'restored')
    const restored = await cli(home, 'restore', file)
    expect(restored, restored.err).toMatchObject({ code: 0, out: expect.stringMatching(/is as it was at 20/) })
    for (const name of ['token', 'secret.key', 'inventory.db'])
      expect((await stat(join(home, name))).mode & 0o777).toBe(0o600)
    // Beside the first one: neither may touch the other's instances or ports.
    const stack = await startTestStack({ home })
    try {
      expect(stack.token).toBe(platform.stack.token)
      // By name: the port of its own belongs to the first one as long as that runs, which is where its URL would lead.
      const urls = async (at: { api: typeof stack.api }) =>
        (await at.api('GET', '/api/2.0/apps/shop')).body.urls as string[]
      const original = (await urls(platform.stack)).find((url) => !url.includes('shop.'))
      await until('the router to say that it does not have that port', 30_000, async () =>
        (await urls(stack)).includes(original as string) ? null : true,
      )
      expect(original).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
      expect((await urls(stack)).length).toBeGreaterThan(0)
      const version = async () =>
        (await ask(`${stack.routerUrl}/`, { host: 'shop.localhost', key: null })).body.version ?? null
      expect(await until('the app to serve again', 30_000, version)).toBe('2')
      const ran = await cli(home, 'apps', 'rollback', 'shop')
      expect(ran, ran.err).toMatchObject({ code: 0 })
      expect(await version()).toBe('1')
      expect((await cli(home, 'apps', 'secrets', 'list', 'shop')).out).toContain('told')
      const operations = (await stack.api('GET', '/api/coppice/v1/operations?app=shop')).body.operations
      expect(operations.map(({ type }: { type: string }) => type)).toEqual(['rollback', 'deploy', 'deploy'])
      expect((await platform.ask('shop')).body.version).toBe('2')
    } finally {
      await stack.stop()
    }
  })
})
