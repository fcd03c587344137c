import { Socket } from 'node:net'

type Done = (error?: Error | null) => void

/**
 * A socket that goes on reading when nothing can be written any more. An app that answers in the middle of a body and
 * closes leaves its answer before a reset; node lets the next write that meets the reset throw both away.
 */
export class UpstreamSocket extends Socket {
  /** Told instead of an error; what is read next says how the connection ended. Null: the error ends the socket. */
  onUnwritable: (() => void) | null = null

  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super._write(chunk, encoding, (error) => this.written(error, done))
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super._writev?.(chunks, (error) => this.written(error, done))
  }

  private written(error: Error | null | undefined, done: Done): void {
    if (!error || this.onUnwritable === null) {
      done(error)
      return
    }
    this.onUnwritable()
    done()
  }
}
