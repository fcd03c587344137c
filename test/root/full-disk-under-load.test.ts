import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { Load } from '../helpers/load.ts'
import { Platform, until } from '../helpers/platform.ts'
import { mountSmallDisk, type SmallDisk } from './small-disk.ts'

/** How long the disk stays full, in ms; minutes of it show nothing more, and are for those who want to see that. */
const HOLD_MS = Number(process.env.COPPICE_TEST_FULL_DISK_MS ?? 20_000)
const AFTERWARDS_MS = 90_000
const MADE_UP_AGAIN = /by itself/

let disk: SmallDisk
let platform: Platform

beforeAll(async () => {
  disk = await mountSmallDisk(64)
  platform = await Platform.start({ home: join(disk.path, 'home') })
})
afterAll(async () => {
  await platform?.stop()
  await disk?.remove()
})

type Answer = { status: number; body: { message?: string; coppice?: { code: string } } | null }

const isDiskFull = ({ status, body }: Answer): boolean => status === 507 && body?.coppice?.code === 'DiskFull'

/** Until it is refused: what SQLite has room for in its log is taken, however full the disk is. */
const untilRefused = (what: () => Promise<Answer>) =>
  until('a call to be refused for the full disk', 60_000, async () => {
    const answer = await what()
    expect(isDiskFull(answer) || answer.status < 300, JSON.stringify(answer)).toBe(true)
    return isDiskFull(answer) ? answer : null
  })

async function doctorOnDisk(): Promise<{ ok: boolean; message: string }> {
  const { body } = await platform.stack.api('GET', '/api/coppice/v1/doctor')
  return body.checks.find((check: { name: string }) => check.name === 'disk')
}

/** On a connection of its own: one that was idle for some seconds may be closed by the server as it is used again. */
function post(path: string, type: string, body: string | Buffer): Promise<Answer> {
  const { apiUrl, token } = platform.stack
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': type,
      'content-length': Buffer.byteLength(body),
    }
    const asked = request(apiUrl + path, { method: 'POST', agent: false, headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) }),
      )
    })
    asked.once('error', reject)
    asked.end(body)
  })
}

/** Random, so that it does not become small on its way. */
async function upload(megabytes: number): Promise<Answer> {
  const folder = await mkdtemp(join(tmpdir(), 'coppice-upload-'))
  try {
    for (let n = 0; n < megabytes; n++) await writeFile(join(folder, `file-${n}`), randomBytes(1024 * 1024))
    const packed = execFileSync('tar', ['-cz', '-C', folder, '.'], { maxBuffer: 2 ** 27 })
    return await post('/api/coppice/v1/sources', 'application/gzip', packed)
  } finally {
    await removeTree(folder)
  }
}

describe('R12.8 the disk of a platform under load is full', () => {
  it('and no request fails, no process ends, no operation is lost, every door says why; with room again all is well without a restart', {
    timeout: HOLD_MS + 300_000,
  }, async () => {
    for (const app of ['full', 'early', 'late']) await platform.write(app, { version: '1' })
    expect((await platform.deploy('full', { instances: 2 })).state).toBe('SUCCEEDED')
    // One operation before its pivot and one behind it.
    const holds = [await platform.hold('early@snapshot.before'), await platform.hold('late@publish.before')]
    const early = await platform.beginDeploy('early')
    const late = await platform.beginDeploy('late')
    for (const hold of holds) await hold.reached()

    const load = new Load({ url: platform.stack.routerUrl, app: 'full', rate: 30, slowMs: () => Math.random() * 200 })
    await load.more(10)
    const before = {
      pids: platform.stack.pids,
      processes: platform
        .processes()
        .map(({ pid }) => pid)
        .sort(),
    }
    await disk.keepFull()
    const end = Date.now() + HOLD_MS
    for (const hold of holds) await hold.release()

    const refused = [
      await untilRefused(() =>
        platform.stack.api('POST', '/api/2.0/apps/full/deployments', { source_code_path: 'full' }),
      ),
      await untilRefused(() => upload(2)),
    ]
    for (const { body } of refused) {
      expect(body?.message).toContain('The disk is full')
      expect(body?.message).not.toMatch(MADE_UP_AGAIN)
    }
    expect(await readdir(join(disk.path, 'home', 'sources', 'making')).catch(() => [])).toEqual([])
    expect(await doctorOnDisk()).toMatchObject({ ok: false, message: expect.stringMatching(/^disk full: 0 MiB free/) })
    while (Date.now() < end) {
      expect((await platform.stack.api('GET', '/api/2.0/apps')).status).toBe(200)
      await sleep(500)
    }

    await disk.empty()
    const ended = { early: await platform.ended(early, AFTERWARDS_MS), late: await platform.ended(late, AFTERWARDS_MS) }
    expect(ended.late).toMatchObject({ state: 'SUCCEEDED' })
    expect(ended.early).toMatchObject({ state: 'FAILED', failure: { code: 'DiskFull' } })
    expect(ended.early.failure?.message).not.toMatch(MADE_UP_AGAIN)
    await platform.write('full', { version: '2' })
    // What was asked for on the full disk and not accepted may still be on its way out.
    await until('a deployment to be accepted and to succeed', AFTERWARDS_MS, async () =>
      (await platform.deploy('full').catch(() => null))?.state === 'SUCCEEDED' ? true : null,
    )
    await load.more(30)
    await load.stop()
    expect(load.failures()).toEqual([])
    expect(await platform.version('full')).toBe('2')
    expect(platform.stack.pids).toEqual(before.pids)
    expect(platform.stack.events).toEqual([])
    expect((await doctorOnDisk()).message).toMatch(/GiB free/)
    // Each process has told what its log does not have.
    for (const name of ['control', 'worker'])
      expect(await readFile(join(disk.path, 'home', 'logs', `${name}.log`), 'utf8')).toMatch(
        /"lost":\d+,"msg":"\d+ log lines? (was|were) lost here: ENOSPC/,
      )
  })

  it('and a router that dies is started all the same and serves; the others come back when there is room', {
    timeout: 300_000,
  }, async () => {
    await disk.keepFull()
    const { pids } = platform.stack
    for (const name of ['temporal', 'control', 'worker', 'router'] as const) platform.stack.kill(name, 'SIGKILL')
    await until('another router to serve', 60_000, async () =>
      platform.stack.pids.router !== pids.router && (await platform.ask('full')).status === 200 ? true : null,
    )
    await disk.empty()
    await platform.write('full', { version: '3' })
    await until('a deployment to succeed', 180_000, async () =>
      (await platform.deploy('full').catch(() => null))?.state === 'SUCCEEDED' ? true : null,
    )
    expect(await platform.version('full')).toBe('3')
  })
})
