import { CoppiceError } from '../domain/errors.ts'

export type UploadLimits = {
  /**
   * A body of which no byte comes for so many ms is given up; one that is no upload has to be there as a whole within
   * them. Default 60,000. Raise it for lines that stall for longer.
   */
  stallMs: number
  /** Uploads at the same time; more get 429. Each takes up to 1 GiB of disk until it is complete. Default 16. */
  maxUploads: number
  /** Of one token, so that one client cannot take those of all. Default 8. */
  maxUploadsPerToken: number
}

export const UPLOAD_LIMITS: UploadLimits = { stallMs: 60_000, maxUploads: 16, maxUploadsPerToken: 8 }

/** The uploads that are being taken in. */
export class Uploads {
  readonly #limits: UploadLimits
  /** Whose they are, one for each. */
  readonly #tokens: string[] = []

  constructor(limits: UploadLimits) {
    this.#limits = limits
  }

  /** @throws CoppiceError TooManyUploads, before anything is taken */
  async during<T>(token: string, take: () => Promise<T>): Promise<T> {
    this.#assertRoom(token)
    this.#tokens.push(token)
    try {
      return await take()
    } finally {
      this.#tokens.splice(this.#tokens.indexOf(token), 1)
    }
  }

  #assertRoom(token: string): void {
    const { maxUploads, maxUploadsPerToken } = this.#limits
    const own = this.#tokens.filter((each) => each === token).length
    if (own >= maxUploadsPerToken)
      throw new CoppiceError('TooManyUploads', `The token ${token} sends ${own} uploads, which is the most for one`)
    if (this.#tokens.length >= maxUploads)
      throw new CoppiceError(
        'TooManyUploads',
        `${this.#tokens.length} uploads are on their way, which is the most for all`,
      )
  }
}
