import { describe, expect, it } from 'vitest'
import { judgeBodyType, judgeOrigin, type RequestHeaders } from './web-origin.ts'

const own = { names: new Set(['coppice.example']), namesOption: '--api-hosts' }
const verdict = (headers: RequestHeaders) => judgeOrigin(headers, own)?.code ?? 'passes'

describe('R13.7 the origin of a request', () => {
  it.each<[string, RequestHeaders]>([
    ['a program', { host: '127.0.0.1:7400' }],
    ['a program that knows the name', { host: 'localhost:7400' }],
    ['IPv6', { host: '[::1]:7400' }],
    ['an address of the network', { host: '192.168.1.7' }],
    ['a name that the operator gave', { host: 'Coppice.example:443' }],
    ['a name with its dot', { host: 'localhost.:7400' }],
    ['HTTP/1.0 without a host', {}],
    ['a person who typed the address', { host: 'localhost:7400', 'sec-fetch-site': 'none' }],
    ['a page of its own', { host: 'localhost:7400', origin: 'http://localhost:7400', 'sec-fetch-site': 'same-origin' }],
    ['a page of its own behind TLS', { host: 'coppice.example', origin: 'https://coppice.example' }],
  ])('lets %s pass', (_who, headers) => {
    expect(verdict(headers)).toBe('passes')
  })

  it.each<[string, RequestHeaders]>([
    ['a rebound name', { host: 'evil.test:7400' }],
    [
      'a rebound name whose page says that it is at home',
      { host: 'evil.test', origin: 'http://evil.test', 'sec-fetch-site': 'same-origin' },
    ],
    ['a name that begins like an address', { host: '127.0.0.1.evil.test' }],
    ['a name that ends like localhost', { host: 'localhost.evil.test' }],
    ['a name behind an address', { host: '127.0.0.1:7400@evil.test' }],
    ['an empty name', { host: '' }],
    ['a page of another site', { host: 'localhost:7400', origin: 'http://evil.test' }],
    ['an image of another site', { host: 'localhost:7400', 'sec-fetch-site': 'cross-site' }],
    [
      'an app at another port',
      { host: '127.0.0.1:7400', origin: 'http://127.0.0.1:8100', 'sec-fetch-site': 'same-site' },
    ],
    ['an image in an app at another port', { host: '127.0.0.1:7400', 'sec-fetch-site': 'same-site' }],
    ['a sandboxed frame', { host: 'localhost:7400', origin: 'null' }],
    ['an extension or a file', { host: 'localhost:7400', origin: 'file://localhost:7400' }],
    ['two origins', { host: 'localhost:7400', origin: 'http://localhost:7400 http://evil.test' }],
  ])('does not let %s pass', (_who, headers) => {
    expect(verdict(headers)).toBe('ForeignOrigin')
  })

  it('is refused with the option that would let it pass, and with no more of its words than needed', () => {
    expect(judgeOrigin({ host: 'evil.test' }, own)?.message).toContain('--api-hosts')
    expect(judgeOrigin({ host: 'x'.repeat(5_000) }, own)?.message.length).toBeLessThan(250)
  })
})

describe('R13.7 the type of a body', () => {
  const type = (contentType?: string, more: RequestHeaders = { 'content-length': '2' }) =>
    judgeBodyType({ ...more, ...(contentType !== undefined && { 'content-type': contentType }) }, ['application/json'])

  it('has to be one that a page cannot send without asking', () => {
    for (const simple of ['text/plain', 'text/plain;charset=application/json', 'application/x-www-form-urlencoded'])
      expect(type(simple)?.code).toBe('UnsupportedMediaType')
    expect(type('multipart/form-data; boundary=application/json')?.code).toBe('UnsupportedMediaType')
    expect(type()?.message).toContain('send it as application/json')
    expect(type(undefined, { 'transfer-encoding': 'chunked' })?.code).toBe('UnsupportedMediaType')
    expect(type('Application/JSON; charset=utf-8')).toBeNull()
  })

  it('is not asked for where there is no body', () => {
    expect(type(undefined, {})).toBeNull()
    expect(type(undefined, { 'content-length': '0' })).toBeNull()
  })
})
