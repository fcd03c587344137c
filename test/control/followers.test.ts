import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freePorts } from '../../scripts/stack/ports.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { openStore, type Store } from '../../store/store.ts'
import { until } from '../helpers/platform.ts'
import type { FollowersNews, FollowersTask } from './support/followers.ts'

const EVENTS = 50_000
const EVENTS_PATH = '/api/coppice/v1/events'

let home: string
let store: Store
let port: number
let token: string
let control: ChildProcess
const children: ChildProcess[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-followers-'))
  store = await openStore({ home })
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await store.close()
  await removeTree(home)
})

/** The real process: what it takes and how soon it answers are measured from outside. */
async function startControl(env: NodeJS.ProcessEnv = {}): Promise<void> {
  ;[port] = (await freePorts(1)) as [number]
  control = spawn(
    process.execPath,
    [
      join(ROOT, 'control/main.ts'),
      '--home',
      home,
      '--api-listen',
      `127.0.0.1:${port}`,
      '--temporal-address',
      '127.0.0.1:1',
    ],
    { env: { PATH: process.env.PATH, ...env }, stdio: 'ignore' },
  )
  children.push(control)
  await until('the control plane to answer', 60_000, async () =>
    (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => null))?.status === 200 ? true : null,
  )
  token = readFileSync(join(home, 'token'), 'utf8').trim()
}

const routerStream = (name: string) => call(`/api/coppice/v1/routes/stream?router=${name}`)

const call = (path: string, init: RequestInit = {}) =>
  fetch(`http://127.0.0.1:${port}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } })

/** Far more than the 8 MB that once ended every stream for good. */
function writeEvents(): void {
  const inventory = new DatabaseSync(join(home, 'inventory.db'))
  const insert = inventory.prepare(`insert into events (at, app, kind, message) values (?, 'busy', 'step', ?)`)
  inventory.exec('begin')
  for (let n = 1; n <= EVENTS; n++) insert.run(Date.now(), `${n} ${'x'.repeat(200)}`)
  inventory.exec('commit')
  inventory.close()
}

function writeInstances(app: string, count: number): void {
  const inventory = new DatabaseSync(join(home, 'inventory.db'))
  const insert = inventory.prepare(`insert into instances (id, app, slot, deployment, operation, mode, compute_size,
    desired, role, observed, crashes, log_lines, created_at)
    values (?, ?, ?, 'd', '0123abcd', 'scaled', 'MEDIUM', 'running', 'serving', 'running', 0, '[]', 1)`)
  for (let slot = 0; slot < count; slot++) insert.run(`${app}-0123abcd-${slot}`, app, slot)
  inventory.close()
}

const residentMb = () =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${control.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024

/** How long the slowest of both questions took, asked again and again until the signal. */
async function slowestAnswer(signal: AbortSignal): Promise<number> {
  let slowest = 0
  while (!signal.aborted) {
    for (const path of ['/healthz', '/api/2.0/apps']) {
      const from = performance.now()
      const answer = await call(path)
      await answer.arrayBuffer()
      expect(answer.status).toBe(200)
      slowest = Math.max(slowest, performance.now() - from)
    }
    await sleep(50, undefined, { signal }).catch(() => {})
  }
  return slowest
}

function startFollowers(task: Omit<FollowersTask, 'port' | 'token'>) {
  const child = fork(join(import.meta.dirname, 'support', 'followers.ts'), { execArgv: [] })
  children.push(child)
  const told = (type: FollowersNews['type']) =>
    new Promise<void>((resolve, reject) => {
      child.on('message', (news: FollowersNews) => {
        if (news.type === type) resolve()
        if (news.type === 'failed') reject(new Error(news.why))
      })
    })
  const connected = told('connected')
  const done = told('done')
  done.catch(() => {})
  child.send({ ...task, port, token } satisfies FollowersTask)
  return { connected, done, end: () => child.kill('SIGKILL') }
}

describe('R9.3 followers of the events', () => {
  it('get the whole of a backlog in order, 300 of them, half of which never read, and nobody else waits or pays', {
    timeout: 300_000,
  }, async () => {
    writeEvents()
    await startControl()
    const quiet = await slowestAnswer(AbortSignal.timeout(3_000))
    const before = residentMb()
    let most = 0
    const measuring = new AbortController()
    const memory = setInterval(() => {
      most = Math.max(most, residentMb())
    }, 100)
    const answers = slowestAnswer(measuring.signal)
    const followers = startFollowers({ readers: 150, mutes: 150, path: `${EVENTS_PATH}?after=0`, last: EVENTS })
    try {
      await followers.connected
      await Promise.race([followers.done, answers])
    } finally {
      measuring.abort()
      clearInterval(memory)
    }
    const slowest = await answers
    // On a machine that is busy with other things even a quiet control plane does not answer at once.
    expect(slowest).toBeLessThan(Math.max(1_000, 5 * quiet))
    expect(most - before).toBeLessThan(150)
    followers.end()
    await until('the memory to come back', 60_000, async () => {
      await call('/healthz')
      return residentMb() - before < 80 ? true : null
    })
  })

  it('of which one does not read are not held up by it, and it is cut off, so that another may come', async () => {
    await startControl({ COPPICE_STREAM_STALL_MS: '1000', COPPICE_MAX_STREAMS_PER_TOKEN: '1' })
    writeEvents()
    const mute = connect(port, '127.0.0.1')
    mute.on('error', () => {})
    mute.write(`GET ${EVENTS_PATH}?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n\r\n`)
    mute.pause()
    await until('the stream to be counted', 10_000, async () => {
      const answer = await call(EVENTS_PATH)
      await answer.body?.cancel()
      return answer.status === 429 ? true : null
    })
    await until('it to be cut off', 30_000, async () => {
      const answer = await call(EVENTS_PATH)
      await answer.body?.cancel()
      return answer.status === 200 ? true : null
    })
    mute.destroy()
  })

  it('are bounded for one token and for all, with an answer of the API that says so, and nothing else is refused', async () => {
    await startControl({ COPPICE_MAX_STREAMS: '3', COPPICE_MAX_STREAMS_PER_TOKEN: '2' })
    const other = await call('/api/coppice/v1/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'dora', role: 'user' }),
    }).then((answer) => answer.json() as Promise<{ token: string }>)
    const open = (as: string) => call(EVENTS_PATH, { headers: { authorization: `Bearer ${as}` } })
    const streams = [await open(token), await open(token)]
    expect(streams.map(({ status }) => status)).toEqual([200, 200])
    const refused = await open(token)
    expect(refused.status).toBe(429)
    expect(await refused.json()).toMatchObject({
      error_code: 'REQUEST_LIMIT_EXCEEDED',
      message: expect.stringContaining('The token admin has 2 streams open'),
      coppice: { code: 'TooManyStreams', retryable: true },
    })
    streams.push(await open(other.token))
    expect(streams[2]?.status).toBe(200)
    expect((await open(other.token)).status).toBe(429)
    expect((await call('/api/2.0/apps')).status).toBe(200)
    // A router that found no place would serve its old table, and operations would wait for it without end.
    const routers = await Promise.all(['one', 'two', 'two', 'two'].map(routerStream))
    expect(routers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    for (const stream of routers) await stream.body?.cancel()
    for (const stream of streams) await stream.body?.cancel()
    await until('the places to be free again', 10_000, async () => {
      const again = await open(token)
      await again.body?.cancel()
      return again.status === 200 ? true : null
    })
  })
})

it('R1.6 the streams of one router are few: whoever comes anew ends the oldest, and none of another router', async () => {
  await startControl()
  const streams = [await routerStream('other'), await routerStream('one')]
  const [other, oldest] = streams.map((stream) => stream.body?.getReader())
  const ended = (async () => {
    while (!(await oldest?.read())?.done);
  })()
  for (let n = 0; n < 3; n++) streams.push(await routerStream('one'))
  await ended
  expect((await other?.read())?.done).toBe(false)
  for (const reader of [other, oldest]) await reader?.cancel()
  for (const stream of streams.slice(2)) await stream.body?.cancel()
})

it('R1.6 a followed log that cannot be read is told as a line of its instance, and ends neither the stream, nor those of others, nor the control plane', async () => {
  await startControl()
  await store.apps.create({ name: 'one', mode: 'standard', instances: 1, creator: 'ada' })
  writeInstances('one', 3)
  const logs = join(home, 'logs', 'instances')
  const log = (slot: number) => join(logs, `one-0123abcd-${slot}.log`)
  // Where a log should be there is a directory, and a pipe: they can be looked at and not read.
  await mkdir(log(0), { recursive: true })
  execFileSync('mkfifo', [log(1)])
  await writeFile(log(2), 'hello\n')
  const ended = new AbortController()
  const follow = async (query: string): Promise<() => Promise<string[]>> => {
    const answer = await call(`/api/coppice/v1/apps/one/logs?follow=true&${query}`, { signal: ended.signal })
    expect(answer.status).toBe(200)
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    return async () => {
      const { value, done } = await reader.read()
      expect(done).toBe(false)
      text += Buffer.from(value as Uint8Array).toString()
      expect(text).not.toContain('event: error')
      return [...text.matchAll(/^event: line\ndata: (.*)\n/gm)].map(([, data]) => {
        const { instance, line } = JSON.parse(data as string) as { instance: string; line: string }
        return `${instance.slice(-1)} ${line}`
      })
    }
  }
  const untilSaid = async (more: () => Promise<string[]>, wanted: string[]) => {
    for (;;) {
      const said = await more()
      if (said.length < wanted.length) continue
      expect(said.sort()).toEqual(wanted)
      return
    }
  }
  const cannot = '(its log cannot be read: something that is not a file lies in its place)'
  const [all, alone] = [await follow('lines=5'), await follow('instance=one-0123abcd-0')]
  const told = [`0 ${cannot}`, `1 ${cannot}`, '2 hello']
  await untilSaid(all, told)
  await untilSaid(alone, [`0 ${cannot}`])
  await appendFile(log(2), 'again\n')
  await removeTree(log(0))
  await writeFile(log(0), 'well\n')
  await untilSaid(all, [...told, '2 again', '0 well'].sort())
  await untilSaid(alone, [`0 ${cannot}`, '0 well'])
  ended.abort()
  expect((await call('/healthz')).status).toBe(200)
  expect(control.exitCode).toBeNull()
})
