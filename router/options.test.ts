import { expect, it } from 'vitest'
import { resolveOptions } from './options.ts'

const resolve = (...argv: string[]) => resolveOptions(['--routes', 'r', ...argv], {})

it('the admin listener is where it was wanted, and nowhere when nobody wanted it', () => {
  expect(resolve().admin).toBeNull()
  expect(() => resolve('--admin', '127.0.0.1:7')).toThrow(/--admin-token-file or --state-dir/)
  expect(resolve('--admin', '127.0.0.1:7', '--state-dir', 'd').admin).toEqual({ host: '127.0.0.1', port: 7 })
})

it.each([
  ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
  ['localhost:65535', { host: 'localhost', port: 65_535 }],
  ['[::1]:80', { host: '::1', port: 80 }],
  ['fd:3', { fd: 3 }],
])('it can listen at %s', (text, listen) => {
  expect(resolve('--listen', text).listen).toEqual(listen)
})

it.each(['127.0.0.1:65536', '127.0.0.1', ':80', '::1:80', 'fd:', 'a:b'])('"%s" is no place to listen at', (text) => {
  expect(() => resolve('--listen', text)).toThrow(/--listen \(COPPICE_ROUTER_LISTEN\).*is not host:port/)
})

it('a network is listened on only by who says that apps may be open to it', () => {
  expect(() => resolve('--listen', '0.0.0.0:80')).toThrow(/is not loopback/)
  expect(resolve('--listen', '0.0.0.0:80', '--expose-unconfined-apps').listen).toEqual({ host: '0.0.0.0', port: 80 })
})

it.each(['0', '1000', '32767000'])('a client is probed after clientProbeMs=%s', (ms) => {
  expect(resolve('--timeout', `clientProbeMs=${ms}`).timeouts.clientProbeMs).toBe(Number(ms))
})

it.each(['1', '999', '32767001', '2147483647'])(
  'clientProbeMs=%s, which the kernel does not take, is refused and does not become the two hours of its own',
  (ms) => {
    expect(() => resolve('--timeout', `clientProbeMs=${ms}`)).toThrow(
      `--timeout clientProbeMs (COPPICE_ROUTER_TIMEOUT) is "${ms}"; it takes a whole number of ms from 1000 to 32767000, or 0 for never`,
    )
    expect(() =>
      resolveOptions(['--routes', 'r'], { COPPICE_ROUTER_TIMEOUT: `connectMs=5,clientProbeMs=${ms}` }),
    ).toThrow(/clientProbeMs/)
  },
)
