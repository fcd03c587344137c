import { expect, it } from 'vitest'
import { parseAppConfig } from './app-config.ts'
import { parseInput } from './inputs.ts'
import { byteLength, MAX_PROCESS_BYTES, MAX_WORD_BYTES, processTooLarge, wordSchema } from './process-size.ts'

it('counts bytes and not characters', () => {
  for (const text of ['plain', 'é', '€', '𝄞', 'a\u0000b', '']) expect(byteLength(text)).toBe(Buffer.byteLength(text))
})

it('R3.6 R13.3 says of a word that is too large what and how large it is', () => {
  expect(wordSchema.safeParse('x'.repeat(MAX_WORD_BYTES)).success).toBe(true)
  const euros = wordSchema.safeParse('€'.repeat(MAX_WORD_BYTES / 2))
  expect(euros.error?.issues[0]?.message).toBe(
    `is ${(MAX_WORD_BYTES / 2) * 3} bytes long; ${MAX_WORD_BYTES} are the most`,
  )
})

it('R3.6 R13.3 says of an environment that is too large in all which variable is the largest', () => {
  const env = Array.from({ length: 20 }, (_, i) => ({ name: `BIG_${i}`, value: 'x'.repeat(60_000 + i) }))
  expect(processTooLarge(['node'], env.slice(0, 10))).toBeNull()
  expect(processTooLarge(['node'], env)).toContain('the largest variable is BIG_19 with 60035')
  expect(processTooLarge(['node'], env)).toContain(`${MAX_PROCESS_BYTES} are the most`)
})

it('R13.3 an app.yaml is measured in bytes', () => {
  const text = `env:\n  - {name: A, value: "${'€'.repeat(30_000)}"}\n`
  expect(() => parseAppConfig('app.yaml', text)).toThrow('larger than 65536 bytes')
})

it('R10.5 a command of a workflow that was started by hand is held to the same', () => {
  expect(() => parseInput('deploy', { app: 'hello', command: ['x'.repeat(70_000)] })).toThrow('is 70000 bytes long')
})
