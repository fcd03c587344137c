import { z } from 'zod'

/**
 * What the kernel takes when a program is started: on Linux 128 KiB for one word or variable, and 2 MiB for all of them
 * as a rule; elsewhere 1 MiB. It counts bytes, and says no more than "Argument list too long", when everything is built
 * (E2BIG, execve(2)). So it is said here, at once.
 */
export const MAX_WORD_BYTES = 64 * 1024
export const MAX_PROCESS_BYTES = 1024 * 1024

/** As UTF-8. */
export function byteLength(text: string): number {
  let bytes = 0
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

/** A word of a command or the value of a variable. */
export const wordSchema = z
  .string()
  .refine((text) => !text.includes('\0'), 'must not contain a NUL character')
  .superRefine((text, context) => {
    const bytes = byteLength(text)
    if (bytes > MAX_WORD_BYTES)
      context.addIssue({ code: 'custom', message: `is ${bytes} bytes long; ${MAX_WORD_BYTES} are the most` })
  })

/** @returns what is too much, and how much, in words; null when a program can be started so. */
export function processTooLarge(
  command: readonly string[],
  env: ReadonlyArray<{ name: string; value: string }>,
): string | null {
  // Each one ends in a NUL and has a pointer to it.
  const cost = (text: string) => byteLength(text) + 9
  const words = command.reduce((sum, word) => sum + cost(word), 0)
  const variables = env.map(({ name, value }) => ({ name, bytes: cost(`${name}=${value}`) }))
  const total = variables.reduce((sum, { bytes }) => sum + bytes, words)
  if (total <= MAX_PROCESS_BYTES) return null
  const [largest] = variables.sort((a, b) => b.bytes - a.bytes)
  const most = largest === undefined ? '' : `; the largest variable is ${largest.name} with ${largest.bytes}`
  return `command (${words} bytes) and environment (${total - words}) are ${total} bytes in all; ${MAX_PROCESS_BYTES} are the most that a program can be started with${most}`
}
