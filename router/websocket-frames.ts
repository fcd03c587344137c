/**
 * Follows the frames of one direction of a WebSocket (RFC 6455 5.2) without looking into them: a frame of the router
 * may only go in between two others, never into the middle of one.
 */
export class FrameFollower {
  /** Bytes of payload still to come. */
  private payload = 0
  /** Header bytes collected, at most 14. */
  private header = 0
  private lengthBytes = 0
  private masked = false

  /** A frame of one's own could be sent now. */
  get atBoundary(): boolean {
    return this.payload === 0 && this.header === 0
  }

  follow(chunk: Buffer): void {
    this.walk(chunk, false)
  }

  /** @returns how many bytes of the chunk end at the first boundary, -1 if it holds none */
  followToBoundary(chunk: Buffer): number {
    return this.walk(chunk, true)
  }

  private walk(chunk: Buffer, stopAtBoundary: boolean): number {
    let i = 0
    while (i < chunk.length) {
      if (this.payload > 0) {
        const taken = Math.min(this.payload, chunk.length - i)
        this.payload -= taken
        i += taken
      } else {
        this.takeHeaderByte(chunk[i] as number)
        i++
      }
      if (stopAtBoundary && this.atBoundary) return i
    }
    return -1
  }

  private pendingLength = 0

  private takeHeaderByte(byte: number): void {
    this.header++
    if (this.header === 1) return
    if (this.header === 2) {
      this.masked = (byte & 0x80) !== 0
      const length = byte & 0x7f
      this.lengthBytes = length === 126 ? 2 : length === 127 ? 8 : 0
      this.pendingLength = this.lengthBytes === 0 ? length : 0
    } else if (this.header <= 2 + this.lengthBytes) {
      this.pendingLength = this.pendingLength * 256 + byte
    }
    if (this.header === 2 + this.lengthBytes + (this.masked ? 4 : 0)) {
      this.payload = this.pendingLength
      this.header = 0
    }
  }
}
