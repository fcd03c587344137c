import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { packSource } from './pack.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-pack-'))
  mkdirSync(join(folder, 'sub'))
  writeFileSync(join(folder, 'app.py'), 'print(1)')
  writeFileSync(join(folder, 'sub', 'run.sh'), '#!/bin/sh', { mode: 0o755 })
  symlinkSync('app.py', join(folder, 'link'))
  writeFileSync(join(folder, '.gitignore'), '*.log')
  writeFileSync(join(folder, 'x.log'), '')
})
afterEach(() => removeTree(folder))

async function packed(): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of packSource(folder)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('packing a folder', () => {
  it('R3.8 takes what is source, with executable bits and links', async () => {
    const archive = extract()
    archive.end(gunzipSync(await packed()))
    const found: unknown[] = []
    for await (const entry of archive) {
      found.push([entry.header.name, entry.header.type, entry.header.mode?.toString(8), entry.header.linkname])
      entry.resume()
    }
    expect(found).toEqual([
      ['.gitignore', 'file', '644', null],
      ['app.py', 'file', '644', null],
      ['link', 'symlink', expect.anything(), 'app.py'],
      ['sub/run.sh', 'file', '755', null],
    ])
  })

  it('gives the same bytes for the same content, whatever the times are', async () => {
    const first = await packed()
    utimesSync(join(folder, 'app.py'), 1, 1)
    expect((await packed()).equals(first)).toBe(true)
  })

  it('R13.3 refuses what cannot be deployed before it sends anything, and names it', async () => {
    writeFileSync(join(folder, 'sub', 'big'), '')
    truncateSync(join(folder, 'sub', 'big'), 10_485_761)
    await expect(packSource(folder).next()).rejects.toMatchObject({
      code: 'SourceRefused',
      details: { field: 'sub/big', bytes: 10_485_761 },
    })
  })

  it('fails, and does not end as if it were whole, when a file vanishes while it is packed', async () => {
    // Not to be compressed, so that most of it is still unread when the first bytes come out.
    for (let i = 0; i < 50; i++) writeFileSync(join(folder, `f${i}`), randomBytes(100_000))
    const chunks = packSource(folder)
    await chunks.next()
    await removeTree(join(folder, 'sub'))
    const rest = (async () => {
      for await (const _ of chunks);
    })()
    await expect(rest).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
