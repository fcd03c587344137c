import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../helpers/platform.ts'
import { startTestControl, type TestControl } from './control.ts'

const STALL_MS = 3_000
const SOURCES = '/api/coppice/v1/sources'

let control: TestControl
beforeAll(async () => {
  control = await startTestControl({
    env: {
      COPPICE_BODY_STALL_MS: String(STALL_MS),
      COPPICE_MAX_UPLOADS: '4',
      COPPICE_MAX_UPLOADS_PER_TOKEN: '3',
    },
  })
})
afterAll(() => control?.stop())

/** A connection on which a request has begun; `answer` is all that came until its end. */
function begin(path: string, options: { type: string; length: number; token?: string }) {
  const { hostname, port } = new URL(control.url)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk) => {
    text += chunk
  })
  // A reset comes after the answer at worst.
  socket.on('error', () => undefined)
  const { token = control.token, type, length } = options
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer ${token}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`,
  )
  return { socket, ended: once(socket, 'close').then(() => text), text: () => text }
}
const upload = (token?: string) =>
  begin(SOURCES, { type: 'application/x-tar', length: 10_000_000, ...(token !== undefined && { token }) })

async function tar(): Promise<Buffer> {
  const archive = pack()
  archive.entry({ name: 'app.py' }, 'print(1)\n')
  archive.entry({ name: 'data' }, 'x'.repeat(4_000))
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Sends a byte from time to time until the connection is closed. */
async function drip(socket: Socket): Promise<void> {
  while (!socket.destroyed) {
    socket.write(' ')
    await sleep(STALL_MS / 20)
  }
}

const stages = (): string[] => {
  try {
    return readdirSync(join(control.home, 'sources', 'making'))
  } catch {
    return []
  }
}

it('R13.8 an upload of which nothing comes any more is ended with words, and leaves no stage; one that is slow and lives is taken', async () => {
  const whole = await tar()
  const slow = begin(SOURCES, { type: 'application/x-tar', length: whole.length })
  const stalled = [whole.subarray(0, 1_600), gzipSync(whole).subarray(0, 100)].map((beginning) => {
    const { socket, ended } = upload()
    socket.write(beginning)
    return ended
  })
  await until('all to have a stage', 10_000, async () => (stages().length === 3 ? true : null))
  const from = performance.now()
  const piece = Math.ceil(whole.length / 12)
  const sent = (async () => {
    for (let at = 0; at < whole.length; at += piece) {
      slow.socket.write(whole.subarray(at, at + piece))
      await sleep(STALL_MS / 6)
    }
  })()
  for (const answer of await Promise.all(stalled)) {
    expect(answer).toMatch(/^HTTP\/1\.1 408 /)
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({
      message: expect.stringContaining('no byte of it has come for 3 s'),
      coppice: { code: 'BodyTimedOut', retryable: true },
    })
  }
  await until('their stages to be gone, not that of the other', 10_000, async () =>
    stages().length === 1 ? true : null,
  )
  await sent
  expect(performance.now() - from).toBeGreaterThan(1.5 * STALL_MS)
  await until('the slow one to be answered', 10_000, async () => (slow.text().includes('digest') ? true : null))
  expect(slow.text()).toMatch(/^HTTP\/1\.1 200 /)
  slow.socket.destroy()
})

it('R13.8 a body that is no upload has to come as a whole in that time, also by single bytes, and with a token that is none', async () => {
  const json = begin('/api/2.0/apps', { type: 'application/json', length: 1_000 })
  const refused = [
    begin(SOURCES, { type: 'application/x-tar', length: 1_000, token: 'nobody' }),
    begin(SOURCES, { type: 'application/zip', length: 1_000 }),
  ]
  for (const { socket } of [json, ...refused]) void drip(socket)
  const answer = await json.ended
  expect(answer).toMatch(/^HTTP\/1\.1 408 /)
  expect(answer).toContain('it has not come as a whole within 3 s')
  // These have been answered at once, and still are not heard without end.
  expect((await Promise.all(refused.map(({ ended }) => ended))).map((text) => text.slice(9, 12))).toEqual([
    '401',
    '415',
  ])
})

it('R13.8 whoever goes on sending while its body is given up finds the answer when it reads, a moment later', async () => {
  const json = begin('/api/2.0/apps', { type: 'application/json', length: 1_000 })
  json.socket.pause()
  void drip(json.socket)
  // Given up a tenth late at most; and several bytes more.
  await sleep(1.1 * STALL_MS + 500)
  json.socket.resume()
  expect(await json.ended).toMatch(/^HTTP\/1\.1 408 .*it has not come as a whole within 3 s/s)
})

it('R13.8 what was answered with 408 is not carried out, although the rest of its body comes a moment later', async () => {
  const body = JSON.stringify({ name: 'too-late' }).padStart(200)
  const json = begin('/api/2.0/apps', { type: 'application/json', length: body.length })
  let sent = 0
  while (!json.text().includes('408')) {
    json.socket.write(body[sent++] as string)
    await sleep(STALL_MS / 20)
  }
  json.socket.write(body.slice(sent))
  await json.ended
  expect(sent).toBeLessThan(100)
  expect((await control.call('GET', '/api/2.0/apps/too-late')).status).toBe(404)
})

it('R13.8 uploads at a time are bounded for one token and for all, with an answer that says so, and nothing else is refused', async () => {
  const dora = await control.call('POST', '/api/coppice/v1/tokens', { name: 'dora', role: 'user' })
  const token = dora.body.token as string
  const uploads = [upload(), upload(), upload()]
  const living = uploads.map(({ socket }) => drip(socket))
  await until('them to be taken in', 10_000, async () => (stages().length === 3 ? true : null))
  const body = await tar()
  const send = (as: string) =>
    control.raw(SOURCES, {
      method: 'POST',
      headers: { authorization: `Bearer ${as}`, 'content-type': 'application/x-tar' },
      body: new Uint8Array(body),
    })
  const answer = await send(control.token)
  expect(answer.status).toBe(429)
  expect(await answer.json()).toMatchObject({
    error_code: 'REQUEST_LIMIT_EXCEEDED',
    message: expect.stringContaining('The token admin sends 3 uploads, which is the most for one'),
    coppice: { code: 'TooManyUploads', retryable: true },
  })
  expect((await send(token)).status).toBe(200)
  const other = upload(token)
  living.push(drip(other.socket))
  await until('that of another to be taken in', 10_000, async () => (stages().length === 4 ? true : null))
  const full = await send(token)
  expect([full.status, ((await full.json()) as { message: string }).message]).toEqual([
    429,
    expect.stringContaining('4 uploads are on their way, which is the most for all'),
  ])
  expect((await control.call('GET', '/api/2.0/apps')).status).toBe(200)
  for (const { socket } of [...uploads, other]) socket.destroy()
  await Promise.all(living)
  await until('the places to be free, and the stages gone', 10_000, async () => (stages().length === 0 ? true : null))
  expect((await send(control.token)).status).toBe(200)
})
