import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Certificates } from './certificates.ts'
import { selfSigned } from './self-signed.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-certificates-'))
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(folder, { recursive: true })
})

it('R12.8 a certificate that could not be read is read again, though its files look as before', async () => {
  const made = await selfSigned(folder, ['localhost'], Date.now())
  if ('unwritten' in made) throw new Error(made.unwritten)
  let readable = true
  const problems: (string | null)[] = []
  let changes = 0
  const read = (path: string) => {
    if (!readable) throw new Error('EACCES: permission denied')
    return readFileSync(path)
  }
  vi.useFakeTimers({ toFake: ['setInterval'] })
  const certificates = new Certificates(
    made,
    () => changes++,
    (message) => problems.push(message),
    read,
  )
  certificates.load()
  certificates.watch()
  vi.advanceTimersByTime(10_000)
  expect([changes, problems]).toEqual([0, []])
  readable = false
  writeFileSync(made.key, `${readFileSync(made.key, 'utf8')}\n`)
  vi.advanceTimersByTime(4_000)
  expect([changes, problems.length]).toEqual([0, 2])
  readable = true
  vi.advanceTimersByTime(10_000)
  expect([changes, problems.slice(2)]).toEqual([1, [null]])
})
