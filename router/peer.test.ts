import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { Peers } from './peer.ts'

const from = (proxies: string[], remoteAddress: string) => new Peers(proxies).of({ remoteAddress } as Socket)

describe('R13.2 who is trusted with headers about the client', () => {
  it.each([
    ['10.0.0.0/8', '10.1.2.3', '11.0.0.1'],
    ['10.0.0.1', '10.0.0.1', '10.0.0.2'],
    ['0.0.0.0/0', '8.8.8.8', '::2'],
    ['fd00::/8', 'fd12::1', 'fe80::1'],
    ['::1/128', '::1', '::2'],
    ['10.0.0.0/8', '::ffff:10.1.2.3', '::ffff:11.1.2.3'],
  ])('%s is %s and not %s', (range, inside, outside) => {
    expect([from([range], inside).trusted, from([range], outside).trusted]).toEqual([true, false])
  })

  it.each([
    '10.0.0.0/',
    '10.0.0.0/ ',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/0x8',
    '10.0.0.0/8/8',
    '::/129',
    'lan',
    '',
  ])('%j is refused, and not taken for everybody', (range) => {
    expect(() => new Peers([range])).toThrow('neither an address nor a CIDR range')
  })

  it('a client on the same machine is told from others', () => {
    expect([from([], '127.0.0.9').loopback, from([], '::1').loopback, from([], '10.0.0.1').loopback]).toEqual([
      true,
      true,
      false,
    ])
  })
})
