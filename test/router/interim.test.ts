import { expect, it } from 'vitest'
import { client, startInProcess } from './support/in-process.ts'
import { RawOrigin } from './support/raw-origin.ts'
import { until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

it.each([
  ['100', '1.1'],
  ['103', '1.0'],
])(
  'R12.2 an interim answer is a byte of the instance, also one that goes no further: %s to HTTP/%s',
  async (status, version) => {
    const origin = await new RawOrigin().listen()
    // And no more, for now.
    origin.answers = () => ({ pieces: [`HTTP/1.1 ${status} Wait\r\n\r\n`] })
    const router = await startInProcess(table(1, app('app', [origin])))
    const socket = client(router, `GET / HTTP/${version}\r\nHost: app.localhost\r\n\r\n`)
    try {
      await until(() => origin.count('/') === 1)
      await until(() => router.told.some((one) => one.type === 'beat' && one.beat.heard.includes('raw')))
      expect(router.beat().inFlight).toEqual({ raw: 1 })
    } finally {
      socket.destroy()
      await origin.close()
      router.stop()
      await router.ended
    }
  },
)
