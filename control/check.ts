/** One finding of the doctor. */
export type Check = {
  name: string
  ok: boolean
  /** What is. */
  message: string
  /** What to do about it: when it is not well, or when somebody may wonder. */
  hint?: string | undefined
}
