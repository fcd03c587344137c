import { open, stat } from 'node:fs/promises'

/** What came between the last look and a rotation is missed; at 300 lines a second that is a thousandth. */
const POLL_MS = 100

/** Follows a log file that may be rotated by copying and truncating, and keeps its lines. */
export class LogTail {
  readonly #path: string
  readonly #lines: string[] = []
  readonly #timer: NodeJS.Timeout
  #offset = 0
  #rest = ''
  #reading: Promise<void> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
    this.#timer = setInterval(() => void this.#more(), POLL_MS).unref()
  }

  /** Leaves out what is there already. */
  async skip(): Promise<void> {
    await this.#more()
    this.#lines.length = 0
    this.#rest = ''
  }

  /** All whole lines since then. */
  async all(): Promise<string[]> {
    await this.#more()
    return this.#lines
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #more(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read())
    return this.#reading
  }

  async #read(): Promise<void> {
    const { size } = await stat(this.#path).catch(() => ({ size: 0 }))
    if (size < this.#offset) this.#offset = 0
    if (size === this.#offset) return
    const file = await open(this.#path)
    try {
      const { bytesRead, buffer } = await file.read({
        buffer: Buffer.alloc(size - this.#offset),
        position: this.#offset,
      })
      this.#offset += bytesRead
      const lines = (this.#rest + buffer.toString('utf8', 0, bytesRead)).split('\n')
      this.#rest = lines.pop() as string
      for (const line of lines) this.#lines.push(line)
    } finally {
      await file.close()
    }
  }
}
