import { readFileSync, statSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'

const LOOK_EVERY_MS = 2000

/**
 * The certificate of the router in two PEM files, read again when they change. A pair that does not fit together, as
 * in the middle of a renewal, is refused, and the last good one stays.
 */
export class Certificates {
  private readonly files: { cert: string; key: string }
  private readonly onChange: (context: SecureContextOptions) => void
  private readonly onProblem: (message: string | null) => void
  private readonly read: (path: string) => Buffer
  private stamp = ''

  constructor(
    files: { cert: string; key: string },
    onChange: (context: SecureContextOptions) => void,
    onProblem: (message: string | null) => void,
    read: (path: string) => Buffer = readFileSync,
  ) {
    this.files = files
    this.onChange = onChange
    this.onProblem = onProblem
    this.read = read
  }

  /** @throws what is wrong with the files; without a first pair there is nothing to serve */
  load(): SecureContextOptions {
    const stamp = this.look()
    const context = certificateContext({ cert: this.read(this.files.cert), key: this.read(this.files.key) })
    // Only now: what could not be read may be readable later without any sign of that (`chmod` changes no time).
    this.stamp = stamp
    return context
  }

  watch(): void {
    setInterval(() => {
      try {
        if (this.look() === this.stamp) return
        this.onChange(this.load())
        this.onProblem(null)
      } catch (error) {
        this.onProblem(`the certificate cannot be used, the last good one stays: ${(error as Error).message}`)
      }
    }, LOOK_EVERY_MS).unref()
  }

  private look(): string {
    const of = (path: string) => {
      const { mtimeMs, size, ino } = statSync(path)
      return `${mtimeMs}/${size}/${ino}`
    }
    return `${of(this.files.cert)} ${of(this.files.key)}`
  }
}

/** @throws what is wrong with the pair */
export function certificateContext(pem: { cert: string | Buffer; key: string | Buffer }): SecureContextOptions {
  const context: SecureContextOptions = { ...pem, minVersion: 'TLSv1.2' }
  createSecureContext(context)
  return context
}
