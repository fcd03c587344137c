import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestControl, type TestControl } from './control.ts'

let control: TestControl

beforeAll(async () => {
  control = await startTestControl()
})
afterAll(() => control?.stop())

const MEGABYTE = Buffer.alloc(1024 * 1024, 'no tar archive ')

/** Reads one answer with a Content-Length. */
async function answerOn(socket: Socket): Promise<{ status: number; body: string }> {
  let text = ''
  for (;;) {
    const end = text.indexOf('\r\n\r\n')
    const length = Number(/^content-length: (\d+)\r$/im.exec(text)?.[1])
    if (end >= 0 && text.length >= end + 4 + length)
      return { status: Number(text.slice(9, 12)), body: text.slice(end + 4, end + 4 + length) }
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    text += chunk.toString('latin1')
  }
}

it('R3.8 an upload that is refused in its middle is told why, is heard to its end, and leaves a connection that can be used', async () => {
  const { hostname, port } = new URL(control.url)
  const socket = connect(Number(port), hostname)
  const heads = `Host: ${hostname}:${port}\r\nAuthorization: Bearer ${control.token}\r\n`
  const size = 40 * MEGABYTE.length
  socket.write(
    `POST /api/coppice/v1/sources HTTP/1.1\r\n${heads}Content-Type: application/x-tar\r\nContent-Length: ${size}\r\n\r\n`,
  )
  socket.write(MEGABYTE)
  const refused = await answerOn(socket)
  expect(refused).toMatchObject({ status: 400, body: expect.stringContaining('not a whole tar archive') })
  // A client that sends all of it before it looks for the answer would hear of a reset instead.
  for (let sent = 1; sent < 40; sent++) if (!socket.write(MEGABYTE)) await once(socket, 'drain')
  socket.write(`GET /api/2.0/apps HTTP/1.1\r\n${heads}\r\n`)
  expect((await answerOn(socket)).status).toBe(200)
  socket.destroy()
})
