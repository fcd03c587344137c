import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readSummary } from './k6.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-k6-'))
})
afterAll(() => rm(folder, { recursive: true }))

it('R11.1 a summary that k6 could not write, or only in part, is none', async () => {
  const path = join(folder, 'summary.json')
  expect(await readSummary(path)).toBeNull()
  const whole = JSON.stringify({ metrics: { app_requests: { values: { count: 2 } } } })
  for (const text of ['', whole.slice(0, 30), '{}']) {
    await writeFile(path, text)
    expect(await readSummary(path), text).toBeNull()
  }
  await writeFile(path, whole)
  expect(await readSummary(path)).toEqual(JSON.parse(whole))
})
