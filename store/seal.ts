/**
 * Encryption at rest for environment values and secrets (R3.7): AES-256-GCM with a key that lies beside the database
 * in a file of mode 0600, so that a copy of the database alone tells nothing.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { readOrMakeSecret } from './secret-file.ts'

export type Seal = {
  /** @returns base64 of nonce (12 bytes), tag (16 bytes), ciphertext. `context` has to be the same to open it. */
  close(plain: string, context: string): string
  open(sealed: string, context: string): string
  /** A key for one purpose (HKDF, 32 bytes): the same each time, and telling nothing of the key it is made from. */
  derive(purpose: string): Buffer
}

export function openSeal(keyFile: string): Seal {
  const key = Buffer.from(readOrMakeSecret(keyFile, () => randomBytes(32).toString('hex')).trim(), 'hex')
  return {
    close(plain, context) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      cipher.setAAD(Buffer.from(context))
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64')
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed, 'base64')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12))
      decipher.setAAD(Buffer.from(context))
      decipher.setAuthTag(bytes.subarray(12, 28))
      return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8')
    },
    derive: (purpose) => Buffer.from(hkdfSync('sha256', key, '', purpose, 32)),
  }
}
