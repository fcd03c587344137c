/**
 * Encryption at rest for environment values and secrets (R3.7): AES-256-GCM with a key that lies beside the database
 * in a file of mode 0600, so that a copy of the database alone tells nothing.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { CoppiceError } from '../domain/errors.ts'
import { readOrMakeSecret, readSecret } from './secret-file.ts'

export type Seal = {
  /**
   * @returns base64 of nonce (12 bytes), tag (16 bytes), ciphertext. `context` has to be the same to open it.
   * @throws CoppiceError SecretKeyLost
   */
  close(plain: string, context: string): string
  /** @throws CoppiceError SecretKeyLost, also when it was sealed with another key */
  open(sealed: string, context: string): string
  /**
   * A key for one purpose (HKDF, 32 bytes): the same each time, and telling nothing of the key it is made from. While
   * that is lost, it is another one in each process.
   */
  derive(purpose: string): Buffer
}

const KEY_BYTES = 32

/**
 * @param isNeeded something is sealed already: the key is not made then, because a new one would open nothing of that, and
 *   what is sealed with it would be lost when the old one is put back. It is looked for again with each use.
 */
export function openSeal(keyFile: string, isNeeded: boolean): Seal {
  let known: Buffer | null = null
  const standIn = randomBytes(KEY_BYTES)
  const theKey = (): Buffer => {
    known ??= readKey(keyFile, isNeeded)
    return known
  }
  const keyIfThere = (): Buffer | null => {
    try {
      return theKey()
    } catch (error) {
      if (error instanceof CoppiceError) return null
      throw error
    }
  }
  keyIfThere()
  return {
    close(plain, context) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', theKey(), nonce)
      cipher.setAAD(Buffer.from(context))
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64')
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed, 'base64')
      const decipher = createDecipheriv('aes-256-gcm', theKey(), bytes.subarray(0, 12))
      decipher.setAAD(Buffer.from(context))
      try {
        decipher.setAuthTag(bytes.subarray(12, 28))
        return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8')
      } catch (cause) {
        const message = `${keyFile} is not the key with which secrets and environment values were sealed`
        throw new CoppiceError('SecretKeyLost', message, {}, { cause })
      }
    },
    derive: (purpose) => Buffer.from(hkdfSync('sha256', keyIfThere() ?? standIn, '', purpose, KEY_BYTES)),
  }
}

function readKey(file: string, isNeeded: boolean): Buffer {
  const text = isNeeded ? readSecret(file) : readOrMakeSecret(file, () => randomBytes(KEY_BYTES).toString('hex'))
  if (text === null)
    throw new CoppiceError('SecretKeyLost', `${file} is gone, and secrets or environment values are sealed with it`)
  const key = Buffer.from(text.trim(), 'hex')
  if (key.length === KEY_BYTES) return key
  throw new CoppiceError('SecretKeyLost', `${file} holds no key: ${KEY_BYTES * 2} hexadecimal digits are one`)
}
