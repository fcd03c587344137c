import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { fileOutput, openLineFile, streamOutput } from './line-output.ts'
import { createLogger } from './logger.ts'

const told = (lost: number, why: string) => `lost ${lost}: ${why}`

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A file on a disk of so many bytes. */
function disk(room: number) {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const self = { text: '', room, calls: 0 }
  const write = (bytes: Buffer): number => {
    self.calls++
    if (self.room === 0) throw full
    const taken = bytes.subarray(0, self.room)
    self.text += taken.toString()
    self.room -= taken.length
    return taken.length
  }
  return { self, output: fileOutput(write, told) }
}

describe('R12.8 lines to a file on a full disk', () => {
  it('are lost and counted, nothing is thrown, and the first line afterwards says how many', () => {
    const { self, output } = disk(0)
    for (let line = 0; line < 1000; line++) output.write(`${line}\n`)
    expect(output.lost).toBe(1000)
    self.room = 1_000
    vi.advanceTimersByTime(1_000)
    output.write('well again\n')
    expect(self.text).toBe('lost 1000: no space left on device\nwell again\n')
    expect(output.lost).toBe(0)
  })

  it('tell of their loss though nobody has anything more to say', () => {
    const { self, output } = disk(0)
    output.write('a\nb\n')
    self.room = 1_000
    vi.advanceTimersByTime(1_000)
    expect(self.text).toBe('lost 2: no space left on device\n')
  })

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 20, 40])(
    'are never cut or glued together with %i bytes of room',
    (room) => {
      const { self, output } = disk(room)
      output.write('one\n')
      output.write('two\nthree\nfour\n')
      output.write('five\n')
      for (const more of [1, 7, 30, 1_000]) {
        self.room = more
        vi.advanceTimersByTime(1_000)
        output.write('more\n')
      }
      const lines = self.text.split('\n')
      expect(lines.pop()).toBe('')
      const counted = lines.flatMap((line) => /^lost (\d+): no space left on device$/.exec(line)?.[1] ?? [])
      const whole = lines.filter((line) => /^(one|two|three|four|five|more)$/.test(line))
      expect(counted.length + whole.length).toBe(lines.length)
      expect(counted.reduce((sum, lost) => sum + Number(lost), whole.length)).toBe(9)
    },
  )

  it('cost a system call now and then, not one each', () => {
    const { self, output } = disk(0)
    for (let line = 0; line < 10_000; line++) output.write('x\n')
    expect(self.calls).toBeLessThan(10)
  })
})

describe('R12.8 lines to a pipe', () => {
  it('whose reader has gone are lost and counted, and nothing is thrown', async () => {
    vi.useRealTimers()
    const taken: string[] = []
    let gone = true
    const pipe = new Writable({
      autoDestroy: false,
      write: (chunk, _encoding, done) => {
        if (gone) return done(new Error('EPIPE'))
        taken.push(String(chunk))
        done()
      },
    })
    const output = streamOutput(pipe, told)
    output.write('a\n')
    await vi.waitFor(() => expect(output.lost).toBe(1))
    gone = false
    // Node's own standard streams forget an error in the same way.
    Object.assign((pipe as unknown as { _writableState: object })._writableState, { errored: null })
    await vi.waitFor(() => expect(taken).toEqual(['lost 1: EPIPE\n']))
  })

  it('whose reader does not read take no more memory than a bound', () => {
    const pipe = new Writable({ write: () => {} })
    const output = streamOutput(pipe, told)
    const line = `${'x'.repeat(99_999)}\n`
    for (let i = 0; i < 1_000; i++) output.write(line)
    expect(pipe.writableLength).toBeLessThan(5 * 1024 * 1024)
    expect(output.lost).toBeGreaterThan(900)
  })
})

describe('R12.8 a file of lines', () => {
  it('that cannot be opened loses what it is given, and is there once it can be', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'coppice-lines-'))
    try {
      await writeFile(join(folder, 'in-the-way'), '')
      const file = join(folder, 'in-the-way', 'log')
      const output = openLineFile(file, told)
      output.write('a\n')
      expect(output.lost).toBe(1)
      await rm(join(folder, 'in-the-way'))
      output.close()
      expect(await readFile(file, 'utf8')).toMatch(/^lost 1: EEXIST.*\n$/)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

it('R12.8 a logger tells in its own form that lines were lost', () => {
  const { self } = disk(0)
  const lines: string[] = []
  const output = { write: (text: string) => void lines.push(text), lost: 0 }
  createLogger({ base: { process: 'worker' } }, output).info({ app: 'a' }, 'hello')
  expect(JSON.parse(lines[0] as string)).toMatchObject({ level: 30, process: 'worker', app: 'a', msg: 'hello' })
  expect(self.text).toBe('')
})
