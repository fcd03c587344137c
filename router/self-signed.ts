import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { replaceFile } from './durable-file.ts'

export type Pem = { cert: string; key: string }

/** Browsers refuse certificates that are valid for longer. */
const VALID_DAYS = 397
const RENEW_DAYS = 30
const DAY_MS = 86_400_000

/**
 * A certificate that the router signed itself, kept in `dir` so that the exception which people made for it in their
 * browser lasts. Made anew when it runs out or the names have changed.
 * @param names DNS names (`*.` allowed) and addresses
 * @returns paths of the PEM files; where they cannot be written, what would be in them and why
 */
export async function selfSigned(
  dir: string,
  names: string[],
  now: number,
): Promise<{ cert: string; key: string } | { pem: Pem; unwritten: string }> {
  const paths = { cert: join(dir, 'self-signed.crt'), key: join(dir, 'self-signed.key') }
  if (await stillGood(paths, names, now)) return paths
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const key = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const cert = certificate(privateKey, publicKey, names, now)
  try {
    await replaceFile(paths.key, key)
    await replaceFile(paths.cert, cert)
    return paths
  } catch (error) {
    // Traffic does not wait for the disk; the exceptions of browsers last only until the next start then.
    return { pem: { cert, key }, unwritten: (error as Error).message }
  }
}

async function stillGood(paths: { cert: string; key: string }, names: string[], now: number): Promise<boolean> {
  try {
    const certificate = new X509Certificate(await readFile(paths.cert))
    const matches = certificate.checkPrivateKey(createPrivateKey(await readFile(paths.key)))
    const lasts = Date.parse(certificate.validTo) - now > RENEW_DAYS * DAY_MS
    // Made by a clock that was ahead, it would be refused until then.
    const begun = Date.parse(certificate.validFrom) <= now
    const wanted = names.map((name) => (isIP(name) ? `IP Address:${longAddress(name)}` : `DNS:${name}`)).join(', ')
    return matches && begun && lasts && certificate.subjectAltName === wanted
  } catch {
    return false
  }
}

/** X.509 version 3 (RFC 5280 4.1) in DER, wrapped as PEM. */
function certificate(key: KeyObject, publicKey: KeyObject, names: string[], now: number): string {
  const algorithm = sequence(oid('1.2.840.10045.4.3.2')) // ecdsa-with-SHA256
  const name = sequence(set(sequence(oid('2.5.4.3'), der(0x0c, Buffer.from('Coppice router, self-signed')))))
  const serial = randomBytes(16)
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40
  const altNames = names.map((one) => (isIP(one) === 0 ? der(0x82, Buffer.from(one)) : der(0x87, addressBytes(one))))
  const extensions = sequence(
    sequence(oid('2.5.29.17'), der(0x04, sequence(...altNames))),
    sequence(oid('2.5.29.19'), der(0x01, Buffer.from([0xff])), der(0x04, sequence())), // basicConstraints: no CA
    sequence(oid('2.5.29.37'), der(0x04, sequence(oid('1.3.6.1.5.5.7.3.1')))), // for servers
  )
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    name,
    sequence(time(now - DAY_MS), time(now + (VALID_DAYS - 1) * DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  )
  const signature = sign('sha256', body, key)
  const whole = sequence(body, algorithm, der(0x03, Buffer.concat([Buffer.from([0]), signature])))
  // Without a blank line where the last one is full: OpenSSL takes that for the end of a header, and finds no certificate.
  const lines = whole.toString('base64').match(/.{1,64}/g) as string[]
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

function der(tag: number, content: Buffer): Buffer {
  const length = content.length
  const header =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), content])
}

const sequence = (...parts: Buffer[]) => der(0x30, Buffer.concat(parts))
const set = (...parts: Buffer[]) => der(0x31, Buffer.concat(parts))

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const digits = [arc & 0x7f]
    for (let more = arc >> 7; more > 0; more >>= 7) digits.unshift((more & 0x7f) | 0x80)
    bytes.push(...digits)
  }
  return der(0x06, Buffer.from(bytes))
}

/** UTCTime, which serves until 2049. */
const time = (ms: number) =>
  der(0x17, Buffer.from(`${new Date(ms).toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '').slice(2)}`))

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail = ''] = address.split('::')
  const groups = (text: string) => text.split(':').filter(Boolean)
  const missing = 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...new Array<string>(Math.max(0, missing)).fill('0'), ...groups(tail)]
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]))
}

/** As OpenSSL writes an address in a certificate: IPv6 in eight groups, without leading zeros, in upper case. */
function longAddress(address: string): string {
  if (isIP(address) === 4) return address
  const bytes = addressBytes(address)
  return Array.from({ length: 8 }, (_, i) =>
    bytes
      .readUInt16BE(2 * i)
      .toString(16)
      .toUpperCase(),
  ).join(':')
}
