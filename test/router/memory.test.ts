import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { residentMb as residentMbOf } from './support/memory.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type OriginProcess, spawnOrigin } from './support/origin-process.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

/** The rule speaks of 500 MB each way (COPPICE_SLOW_MB=500); a fifth shows as well whether memory grows with it. */
const MB = Number(process.env.COPPICE_SLOW_MB ?? 100)
const BYTES = MB * 1_000_000

describe(`a slow peer and ${MB} MB`, () => {
  let origin: OriginProcess
  let slowOrigin: Origin
  let router: RouterProcess

  beforeAll(async () => {
    origin = await spawnOrigin('fast')
    slowOrigin = await startOrigin('slow')
    router = await startRouter({
      routes: table(1, app('app', [origin]), app('slow', [slowOrigin])),
      args: ['--processes', '1', '--check', 'idleMs=600000'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await Promise.all([origin.end(), slowOrigin.close()])
  })

  const residentMb = async () => residentMbOf((await router.workers())[0] as number)

  /** Highest growth over the memory at the beginning, while something goes on. */
  async function growth(during: () => Promise<void>): Promise<number> {
    const before = await residentMb()
    let highest = before
    const watch = setInterval(async () => {
      highest = Math.max(highest, await residentMb())
    }, 20)
    await during()
    clearInterval(watch)
    return highest - before
  }

  it('a client that reads slowly costs less than 64 MB', async () => {
    const grown = await growth(
      () =>
        new Promise((resolve, reject) => {
          const socket: Socket = connect(router.port, '127.0.0.1')
          socket.write(`GET /download?bytes=${BYTES} HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n`)
          let received = 0
          let pauses = 0
          socket.on('data', (chunk) => {
            received += chunk.length
            // Half of it in gulps with pauses, so that everything behind fills up again and again.
            if (received > (pauses + 1) * (BYTES / 20) && pauses < 10) {
              pauses++
              socket.pause()
              setTimeout(() => socket.resume(), 150)
            }
          })
          socket.on('close', () => (received > BYTES ? resolve() : reject(new Error(`only ${received} bytes`))))
        }),
    )
    expect(grown).toBeLessThan(64)
  })

  it('an instance that reads slowly costs less than 64 MB', async () => {
    const grown = await growth(
      () =>
        new Promise((resolve, reject) => {
          const socket: Socket = connect(router.port, '127.0.0.1')
          socket.write(
            `POST /sip?ms=1 HTTP/1.1\r\nHost: slow.localhost\r\nConnection: close\r\nContent-Length: ${BYTES}\r\n\r\n`,
          )
          const piece = Buffer.alloc(1_000_000, 'u')
          let left = BYTES
          const more = () => {
            while (left > 0) {
              const chunk = piece.subarray(0, Math.min(piece.length, left))
              left -= chunk.length
              if (!socket.write(chunk)) {
                socket.once('drain', more)
                return
              }
            }
          }
          let text = ''
          socket.on('data', (chunk) => {
            text += chunk
          })
          socket.on('close', () =>
            text.includes(`"bytes":${BYTES}`) ? resolve() : reject(new Error(text.slice(0, 300))),
          )
          more()
        }),
    )
    expect(grown).toBeLessThan(64)
  })

  it('a client that stops reading altogether is cut off in the end', async () => {
    const impatient = await startRouter({
      routes: table(1, app('app', [origin])),
      args: ['--processes', '1', '--timeout', 'writeStallMs=1000'],
    })
    try {
      const socket: Socket = connect(impatient.port, '127.0.0.1')
      socket.write('GET /download?bytes=100000000 HTTP/1.1\r\nHost: app.localhost\r\n\r\n')
      await new Promise((resolve) => socket.once('data', resolve))
      socket.pause()
      const inFlight = async () =>
        ((await impatient.admin('/status')) as { inFlight: Record<string, number> }).inFlight.fast
      await until(async () => (await inFlight()) === 1)
      await until(async () => (await inFlight()) === undefined)
      socket.destroy()
    } finally {
      await impatient.stop()
    }
  })
})
