import { expect, it } from 'vitest'
import { isGuarded, keyAmong, readerOf } from './identity.ts'
import { seeded } from './random.ts'
import { DEFAULT_COOKIES, readDuration, readSettings } from './settings.ts'

it('R11.2 a URL is all that a script needs, and it asks an unknown app with GET only', () => {
  const settings = readSettings({ APP_URL: 'https://a.example/, https://b.example' }, () => 7)
  expect(settings).toMatchObject({
    urls: ['https://a.example', 'https://b.example'],
    methods: ['GET'],
    slowShare: 0,
    seed: 7,
  })
})

it('a setting that makes no sense is refused by its name', () => {
  expect(() => readSettings({})).toThrow('APP_URL is missing')
  expect(() => readSettings({ APP_URL: 'a.example' })).toThrow('APP_URL')
  expect(() => readSettings({ APP_URL: 'http://a', RATE: 'fast' })).toThrow('RATE')
  expect(() => readSettings({ APP_URL: 'http://a', DURATION: '10' })).toThrow('DURATION')
  expect(() => readSettings({ APP_URL: 'http://a', CLIENTS: 'robot:1' })).toThrow('CLIENTS')
})

it('durations are read as k6 writes them', () => {
  expect(readDuration('D', '1m30s')).toBe(90_000)
  expect(readDuration('D', '250ms')).toBe(250)
})

it('R11.2 who answered is read from JSON, a header or by a regular expression', () => {
  const answer = { body: '{"who":{"id":"i-1"},"slot":0}', headers: { 'X-Served-By': 'i-2' } }
  expect(readerOf('json:who.id')(answer)).toBe('i-1')
  expect(readerOf('json:slot')(answer)).toBe('0')
  expect(readerOf('json:who.nothing.at.all')(answer)).toBe(null)
  expect(readerOf('header:x-served-by')(answer)).toBe('i-2')
  expect(readerOf('regex:"id":"([^"]+)"')(answer)).toBe('i-1')
  expect(readerOf('')(answer)).toBe(null)
  expect(readerOf('json:slot')({ body: 'data: {"slot":2}\n\ndata: {"slot":3}\n\n', headers: {} })).toBe('2')
  expect(readerOf('json:slot')({ body: 'no JSON', headers: {} })).toBe(null)
  expect(() => readerOf('cookie:x')).toThrow('json:path')
})

it('R11.4 who answered is read from the router’s word, and from nobody’s that only looks like it', () => {
  const said = (value: string) => ({ body: '', headers: { 'X-Served-By': value } })
  const facts = (value: string) =>
    ['instance', 'slot', 'deployment'].map((fact) => readerOf(`served-by:${fact}`)(said(value)))
  expect(facts('hello-1-0; slot=0; deployment=d1')).toEqual(['hello-1-0', '0', 'd1'])
  expect(facts('hello-1-0; slot=3')).toEqual(['hello-1-0', '3', null])
  expect(facts('cache-fra-1')).toEqual([null, null, null])
  expect(readerOf('served-by:instance')({ body: '', headers: {} })).toBe(null)
  expect(() => readerOf('served-by:router')).toThrow('served-by:instance')
})

it('R11.4 with a naming key it is the router who says it, unless the app is to', () => {
  const places = (more: Record<string, string>) => {
    const { instanceAt, slotAt, versionAt } = readSettings({ APP_URL: 'http://a', ...more })
    return [instanceAt, slotAt, versionAt]
  }
  expect(places({ NAMING_KEY: '' })).toEqual(['json:instance', 'json:slot', 'json:version'])
  const byRouter = ['served-by:instance', 'served-by:slot', 'served-by:deployment']
  expect(places({ NAMING_KEY: 'k' })).toEqual(byRouter)
  expect(places({ NAMING_KEY: 'k', INSTANCE_AT: 'header:X-Me', SLOT_AT: '' })).toEqual(['header:X-Me', '', byRouter[2]])
})

it('R7.1 the routing cookie is found by name or by the beginning of it', () => {
  const names = DEFAULT_COOKIES.split(',')
  expect(keyAmong({ session: 'x', 'coppice-router-hello': 'k' }, names)).toBe('k')
  expect(keyAmong({ 'coppice-router-hello': 'k', '__Host-databricks-app-router': 'first' }, names)).toBe('first')
  expect(keyAmong({ session: 'x' }, names)).toBe(null)
})

it('the same seed draws the same, another seed something else', () => {
  const draw = (...seeds: number[]) => {
    const random = seeded(...seeds)
    return [random.whole(1, 1_000_000), random.uuid(), random.pick(['a', 'b', 'c', 'd'])]
  }
  expect(draw(7, 1)).toEqual(draw(7, 1))
  expect(draw(7, 1)).not.toEqual(draw(7, 2))
  expect(draw(7, 1)).not.toEqual(draw(8, 1))
  expect(draw(7, 1)[1]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
})

it('R7.4 a routing cookie is guarded when only its host sets it, no script reads it, and the browser forgets it', () => {
  const name = '__Host-databricks-app-router'
  const good = `${name}=k; Path=/; Secure; HttpOnly; SameSite=Lax`
  expect(isGuarded(good, name)).toBe(true)
  expect(isGuarded(`a=1; Max-Age=9, ${good}, coppice-router-a=k; Path=/; Domain=x`, name)).toBe(true)
  for (const missing of ['; Path=/', '; Secure', '; HttpOnly', '; SameSite=Lax']) {
    expect(isGuarded(good.replace(missing, ''), name), missing).toBe(false)
  }
  for (const more of ['Domain=a.example', 'Max-Age=9', 'Expires=Mon, 23 Nov 2026 05:40:00 GMT']) {
    expect(isGuarded(`${good}; ${more}`, name), more).toBe(false)
  }
  expect(isGuarded('AWSALB=k; Expires=Mon, 23 Nov 2026 05:40:00 GMT', 'AWSALB')).toBe(true)
})
