import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { raw } from './support/client.ts'
import { OK, type RawAnswer, RawOrigin } from './support/raw-origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'
import { get, HOST, statuses, WEBSOCKET } from './support/wire.ts'

const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
/** Of an app that changes to what it is asked for: whoever gets 200 was not understood as one who asks. */
const SWITCHES: RawAnswer = { pieces: [SWITCHED] }

describe('what becomes of an upgrade', () => {
  const origin = new RawOrigin()
  let router: RouterProcess
  let toUpgrade: RawAnswer
  /** The instance does not answer before. */
  let thinking: Promise<unknown>

  beforeAll(async () => {
    await origin.listen()
    origin.answers = async ({ headers, target }) => {
      if (target === '/ws') await thinking
      return headers.some(([name]) => name.toLowerCase() === 'upgrade') ? toUpgrade : OK
    }
    router = await startRouter({
      routes: table(1, app('app', [origin], { affinity: false })),
      args: ['--processes', '1'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await origin.close()
  })
  beforeEach(() => {
    origin.seen.length = 0
    origin.objections.length = 0
    toUpgrade = SWITCHES
    thinking = Promise.resolve()
  })

  const upgradeOf = (n = 0) => origin.seen[n]?.headers.filter(([name]) => name.toLowerCase() === 'upgrade')

  const NONE: [name: string, request: string, answer: RawAnswer, status: number][] = [
    [
      'that the app refuses',
      `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`,
      { pieces: ['HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'] },
      403,
    ],
    ['that the app overlooks', `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`, { pieces: OK.pieces }, 200],
    [
      'that the app answers with nonsense',
      `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`,
      { pieces: ['nonsense'] },
      502,
    ],
    [
      'to another protocol than was asked for',
      `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`,
      { pieces: [SWITCHED.replace('websocket', 'h2c')] },
      502,
    ],
    [
      'to h2c',
      `GET /ws HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
      SWITCHES,
      200,
    ],
    [
      'to two protocols',
      `GET /ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`,
      SWITCHES,
      200,
    ],
    ['by POST', `POST /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}Content-Length: 3\r\n\r\nabc`, SWITCHES, 200],
    [
      'by POST in chunks',
      `POST /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      SWITCHES,
      200,
    ],
    ['with a body', `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}Content-Length: 3\r\n\r\nabc`, SWITCHES, 200],
    [
      'with a body in chunks',
      `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      SWITCHES,
      200,
    ],
    ['in HTTP/1.0', `GET /ws HTTP/1.0\r\n${HOST}${WEBSOCKET}\r\n`, SWITCHES, 200],
    [
      'in HTTP/1.0 that keeps alive',
      `GET /ws HTTP/1.0\r\n${HOST}${WEBSOCKET.replace('Upgrade', 'keep-alive, Upgrade')}\r\n`,
      SWITCHES,
      200,
    ],
  ]
  describe.each(NONE)('one %s', (_name, request, answer, status) => {
    const behind = `POST /behind HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nxy`
    const body = request.endsWith('\r\n\r\n') && !request.includes('chunked') ? '' : 'abc'

    it.each([
      ['in the same piece', 0],
      ['while the instance thinks', 1],
    ])(
      'R13.2 is a request like any other; what comes behind it %s is answered, or not carried out',
      async (_when, later) => {
        toUpgrade = answer
        const text = await talk(request, behind, later === 1)
        // Whatever was begun before this has reached the instance before it.
        expect(statuses((await raw(router, get('/last', 'Connection: close\r\n'))).text)).toEqual([200])
        const answered = statuses(text)
        expect(answered[0]).toBe(status)
        expect(origin.count('/ws')).toBe(1)
        expect(origin.seen[0]?.body).toBe(body)
        expect(origin.count('/behind')).toBe(answered.length - 1)
        expect(origin.objections).toEqual([])
        expect(text).not.toContain(' 101 ')
      },
    )
  })

  /** Both at once, or the second while the instance has the first and has not answered; until the router closes. */
  function talk(first: string, second: string, later: boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      let answer: () => void = () => undefined
      if (later)
        thinking = new Promise<void>((done) => {
          answer = done
        })
      const socket = connect(router.port, '127.0.0.1')
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
        // Nobody would ever end that.
        if (text.includes(' 101 ')) socket.destroy()
      })
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(text))
      if (!later) socket.write(first + second, 'latin1')
      else {
        socket.write(first, 'latin1')
        void until(() => origin.count('/ws') > 0).then(async () => {
          socket.write(second, 'latin1')
          // Whoever carries it out before its turn does so within that.
          await until(() => origin.count('/behind') > 0, 200).catch(() => undefined)
          answer()
        }, reject)
      }
    })
  }

  it('R13.2 asks the instance for exactly the WebSocket that was asked for, and for nothing else', async () => {
    toUpgrade = { pieces: [SWITCHED], end: 'close' }
    await raw(router, `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET.replace('websocket', 'WebSocket')}\r\n`)
    expect(upgradeOf()).toEqual([['upgrade', 'websocket']])
    expect(origin.seen[0]?.headers).toContainEqual(['connection', 'upgrade'])
    origin.seen.length = 0
    for (const request of [
      `GET /ws HTTP/1.0\r\n${HOST}${WEBSOCKET}\r\n`,
      `GET /ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    ]) {
      await raw(router, request)
    }
    expect(origin.seen).toHaveLength(2)
    expect([upgradeOf(0), upgradeOf(1)]).toEqual([[], []])
  })

  it('R7.3 bytes that follow the 101 in the same piece are the first of the conversation', async () => {
    toUpgrade = { pieces: [`${SWITCHED}\x81\x05hello`], end: 'close' }
    const { text } = await raw(router, `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`)
    expect(statuses(text)).toEqual([101])
    expect(text.endsWith('\r\n\r\n\x81\x05hello')).toBe(true)
  })

  it('R13.2 interim answers before the 101 are none of it, and its head carries no framing', async () => {
    toUpgrade = {
      pieces: [
        'HTTP/1.1 100 Continue\r\n\r\n',
        SWITCHED.replace('\r\n\r\n', '\r\nContent-Length: 5\r\nX-A: b\r\n\r\n'),
        'bytes',
      ],
      end: 'close',
    }
    const { text } = await raw(router, `GET /ws HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`)
    expect(statuses(text)).toEqual([101])
    expect(text.toLowerCase()).not.toContain('content-length')
    expect(text).toContain('X-A: b')
    expect(text.endsWith('\r\n\r\nbytes')).toBe(true)
  })

  it.each(['GET', 'POST'])('R13.2 a 426 to a %s keeps Upgrade, and Connection with it', async (method) => {
    const answer =
      'HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno'
    origin.answers = ({ target }) => (target === '/x' ? { pieces: [answer] } : OK)
    const body = method === 'POST' ? 'Content-Length: 3\r\n\r\nabc' : '\r\n'
    const { text } = await raw(
      router,
      `${method} /x HTTP/1.1\r\n${HOST}${body}GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
    )
    expect(statuses(text)).toEqual([426, 200])
    const head = text.slice(0, text.indexOf('\r\n\r\n')).toLowerCase()
    expect(head.match(/\r\n(?:upgrade|connection): [^\r]*/g)?.sort()).toEqual([
      '\r\nconnection: upgrade',
      '\r\nupgrade: websocket',
    ])
    const old = await raw(router, `${method} /x HTTP/1.0\r\n${HOST}${body}`)
    expect(statuses(old.text)).toEqual([426])
    expect(old.text.toLowerCase()).not.toContain('upgrade:')
    expect(old.closed).toBe(true)
    // Asked for by an upgrade, it ends the connection, and says that too.
    const asked = await raw(router, `GET /x HTTP/1.1\r\n${HOST}${WEBSOCKET}\r\n`)
    expect(asked.text.toLowerCase()).toContain('\r\nconnection: upgrade, close\r\n')
    expect(asked.closed).toBe(true)
  })
})
