import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { selfSigned } from './self-signed.ts'

const DAY_MS = 86_400_000
const NOW = Date.parse('2026-03-01T00:00:00Z')
const NAMES = ['localhost', '*.apps.example', '127.0.0.1', '::1', 'fe80::00AB:1']

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-tls-'))
})
afterEach(() => rm(dir, { recursive: true }))

async function made(names = NAMES, now = NOW) {
  const paths = await selfSigned(dir, names, now)
  if ('unwritten' in paths) throw new Error(paths.unwritten)
  return { ...paths, pem: await readFile(paths.cert, 'utf8') }
}

it('the certificate that it makes is one for servers with these names, by no CA and by its own key', async () => {
  const certificate = new X509Certificate((await made()).pem)
  expect(certificate.verify(certificate.publicKey)).toBe(true)
  expect(certificate.ca).toBe(false)
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
  for (const host of ['localhost', 'app.apps.example']) expect(certificate.checkHost(host)).toBeDefined()
  expect(certificate.checkHost('example.com')).toBeUndefined()
  for (const ip of ['127.0.0.1', '::1', 'fe80::ab:1']) expect(certificate.checkIP(ip)).toBe(ip)
  const days = (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / DAY_MS
  expect(days).toBe(397)
  expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' })
})

it('it stays as it is while it is good, so that the exceptions of browsers last', async () => {
  const { pem } = await made()
  expect((await made(NAMES, NOW + 365 * DAY_MS)).pem).toBe(pem)
})

it('it is made anew for other names, before it runs out, when it is not valid yet, and when what is there is no certificate or not of this key', async () => {
  let { pem, cert, key } = await made()
  const anew = async (names?: string[], now?: number) => {
    const next = await made(names, now)
    expect(next.pem).not.toBe(pem)
    pem = next.pem
    expect(() => new X509Certificate(pem)).not.toThrow()
  }
  await anew(['localhost'])
  await anew()
  await anew(NAMES, NOW + 367 * DAY_MS)
  // The clock was set back: it was made by one that was ahead.
  await anew(NAMES, NOW)
  await writeFile(cert, 'nonsense')
  await anew()
  const other = await mkdtemp(join(dir, 'other-'))
  await selfSigned(other, NAMES, NOW)
  await writeFile(key, await readFile(join(other, 'self-signed.key')))
  await anew()
})

it('it can be read however long it is, also when it fills its last line', async () => {
  let full = 0
  for (let length = 1; full < 3; length = (length % 60) + 1) {
    const certificate = new X509Certificate((await made(['a'.repeat(length)])).pem)
    if (certificate.raw.length % 48 === 0) full++
  }
})
