import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Header, pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { packSource } from '../../cli/pack.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { removeTree } from '../artifacts/trees.ts'
import { createSources } from './sources.ts'

let home: string
let folder: string
const noPins = { isPinned: async () => false }

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-sources-'))
  folder = join(home, 'app')
  mkdirSync(join(folder, 'sub'), { recursive: true })
  writeFileSync(join(folder, 'app.py'), 'print(1)\n')
  writeFileSync(join(folder, 'sub', 'run.sh'), '#!/bin/sh\n')
  chmodSync(join(folder, 'sub', 'run.sh'), 0o755)
  symlinkSync('sub/run.sh', join(folder, 'run'))
  writeFileSync(join(folder, '.gitignore'), '*.log\n')
  writeFileSync(join(folder, 'x.log'), 'no')
})
afterEach(() => removeTree(home))

const make = (limits?: Parameters<typeof createSources>[0]['limits']) =>
  createSources({ directory: join(home, 'sources'), pins: noPins, now: Date.now, ...(limits ? { limits } : {}) })

/** What is left of attempts: nothing may be. */
const leftovers = () => ['making', 'trash'].flatMap((place) => list(join(home, 'sources', place)))
const list = (path: string): string[] => {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function tar(...entries: Array<[Partial<Header> & { name: string }, string?]>): Promise<Buffer> {
  const archive = pack()
  for (const [header, content] of entries) archive.entry(header, content ?? '')
  archive.finalize()
  return collect(archive as AsyncIterable<Uint8Array>)
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function* chunked(bytes: Uint8Array, size = 100): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function refusal(promise: Promise<unknown>): Promise<CoppiceError> {
  const error = await promise.then(
    () => null,
    (error) => error,
  )
  expect(error).toBeInstanceOf(CoppiceError)
  return error
}

describe('a snapshot', () => {
  it('R3.8 is addressed by its content: name, place and times of the folder do not matter, content and modes do', async () => {
    const sources = make()
    const first = await sources.snapshot(folder)
    renameSync(folder, join(home, 'renamed'))
    folder = join(home, 'renamed')
    utimesSync(join(folder, 'app.py'), 1, 1)
    writeFileSync(join(folder, 'y.log'), 'ignored')
    expect(await sources.snapshot(folder)).toEqual(first)
    expect(first).toMatchObject({ files: 4, bytes: 25 })

    chmodSync(join(folder, 'app.py'), 0o755)
    const executable = await sources.snapshot(folder)
    writeFileSync(join(folder, 'app.py'), 'print(2)\n')
    const changed = await sources.snapshot(folder)
    expect(new Set([first.digest, executable.digest, changed.digest]).size).toBe(3)
    expect(leftovers()).toEqual([])
  })

  it('is read-only and holds files, executable bits and links', async () => {
    const sources = make()
    const path = await sources.path((await sources.snapshot(folder)).digest)
    expect(path).not.toBeNull()
    expect(readdirSync(path as string).sort()).toEqual(['.gitignore', 'app.py', 'run', 'sub'])
    expect(readFileSync(join(path as string, 'run'), 'utf8')).toBe('#!/bin/sh\n')
  })

  it('R13.3 refuses links that leave the folder and files that are too large, and leaves nothing', async () => {
    symlinkSync('/etc/passwd', join(folder, 'sub', 'passwd'))
    expect((await refusal(make().snapshot(folder))).details.field).toBe('sub/passwd')
    const small = make({ maxFileBytes: 5, maxFiles: 10, maxTotalBytes: 100 })
    expect((await refusal(small.snapshot(folder))).code).toBe('SourceRefused')
    expect(list(join(home, 'sources', 'kept'))).toEqual([])
    expect(leftovers()).toEqual([])
  })

  it('says which folder is not there', async () => {
    const error = await refusal(make().snapshot(join(home, 'nowhere')))
    expect(error.code).toBe('SourceNotFound')
    expect(error.message).toContain('nowhere')
  })

  it('R4.3 that was damaged is not given out', async () => {
    const sources = make()
    const { digest } = await sources.snapshot(folder)
    const file = join((await sources.path(digest)) as string, 'app.py')
    chmodSync(file, 0o644)
    writeFileSync(file, 'print(3)\n')
    expect(await sources.path(digest)).toBeNull()
    expect((await sources.snapshot(folder)).digest).toBe(digest)
    expect(await sources.path(digest)).not.toBeNull()
  })

  it('is null for what is unknown or no digest at all', async () => {
    expect(await make().path('0'.repeat(64))).toBeNull()
    expect(await make().path('../../etc')).toBeNull()
  })
})

describe('an upload', () => {
  it('R3.8 of what the CLI packs has the digest of a snapshot of the same folder', async () => {
    const sources = make()
    const packed = await collect(packSource(folder))
    expect(await sources.receive(chunked(packed))).toEqual(await sources.snapshot(folder))
    expect(leftovers()).toEqual([])
  })

  it('is the same with and without gzip, with ./ before the names, and without what is never taken', async () => {
    const sources = make()
    const plain = await tar([{ name: 'a/b' }, 'x'], [{ name: 'c', mode: 0o755 }, 'y'])
    const dotted = await tar(
      [{ name: './', type: 'directory' }],
      [{ name: './a/b' }, 'x'],
      [{ name: './c', mode: 0o755 }, 'y'],
      [{ name: 'node_modules/z' }, 'z'],
    )
    const first = await sources.receive(chunked(plain))
    expect(await sources.receive(chunked(gzipSync(plain), 1))).toEqual(first)
    expect(await sources.receive(chunked(dotted))).toEqual(first)
  })

  it.each<[string, Array<[Partial<Header> & { name: string }, string?]>, RegExp]>([
    ['a path that climbs out', [[{ name: '../x' }, 'x']], /"\.\.\/x" leaves/],
    ['a path that climbs out later', [[{ name: 'a/../../x' }, 'x']], /leaves/],
    ['an absolute path', [[{ name: '/etc/x' }, 'x']], /not a relative path/],
    ['a device', [[{ name: 'tty', type: 'character-device', devmajor: 5 }]], /is a character-device/],
    ['a hard link', [[{ name: 'a' }, 'x'], [{ name: 'b', type: 'link', linkname: 'a' }]], /is a link/],
    ['a link that leaves', [[{ name: 'a', type: 'symlink', linkname: '../../x' }]], /leaves the source folder/],
    ['a file behind a link', [[{ name: 'a', type: 'symlink', linkname: 'b' }], [{ name: 'a/x' }, 'x']], /another file/],
    [
      'a file behind a file',
      [
        [{ name: 'a' }, 'x'],
        [{ name: 'a/x' }, 'x'],
      ],
      /another file/,
    ],
    [
      'a file twice',
      [
        [{ name: 'a' }, 'x'],
        [{ name: './a' }, 'y'],
      ],
      /twice/,
    ],
    ['a file that is too large', [[{ name: 'a' }, 'x'.repeat(2000)]], /larger than 1000 bytes/],
  ])('R13.3 with %s is refused, and leaves nothing', async (_, entries, reason) => {
    const sources = make({ maxFileBytes: 1000, maxFiles: 10, maxTotalBytes: 5000 })
    const error = await refusal(sources.receive(chunked(await tar(...entries))))
    expect(error.code).toBe('SourceRefused')
    expect(error.message).toMatch(reason)
    expect(list(join(home, 'sources', 'kept'))).toEqual([])
    expect(leftovers()).toEqual([])
  })

  it.each([
    // With a quadratic pattern a quarter of an hour.
    ['a name of a million slashes', { name: `a${'/'.repeat(1_000_000)}x` }],
    ['a name of a million points', { name: `${'./'.repeat(500_000)}x` }],
    ['a name of more bytes than characters', { name: 'ü'.repeat(1025) }],
    ['a link of a million parts', { name: 'a', type: 'symlink' as const, linkname: 'x/'.repeat(500_000) }],
  ])('R13.3 with %s is refused at once, and leaves nothing', async (_, header) => {
    // With attributes of its own, so that tar-stream does not try to split the name, which takes it minutes.
    const archive = await tar([{ ...header, pax: {} }])
    const error = await refusal(make().receive(chunked(archive, 65_536)))
    expect(error.message).toMatch(/longer than 2048 bytes/)
    expect(error.message.length).toBeLessThan(8_000)
    expect(leftovers()).toEqual([])
  })

  it('R3.8 that breaks off leaves nothing, wherever it breaks off', async () => {
    const sources = make()
    const plain = await tar([{ name: 'a' }, 'x'.repeat(600)], [{ name: 'b' }, 'y'.repeat(600)])
    const zipped = gzipSync(plain)
    // After a header, in a file, exactly between two files, before the end mark; and in the middle of the gzip.
    const halves = [0, 1, 300, 512, 700, 1536, 3072, 3584].map((at) => plain.subarray(0, at))
    for (const half of [...halves, zipped.subarray(0, zipped.length >> 1), zipped.subarray(0, -4)]) {
      expect((await refusal(sources.receive(chunked(half)))).message).toContain('not a whole tar archive')
    }
    async function* breaksOff() {
      yield plain.subarray(0, 700)
      throw new Error('the client is gone')
    }
    expect((await refusal(sources.receive(breaksOff()))).message).toContain('the client is gone')
    expect(list(join(home, 'sources', 'kept'))).toEqual([])
    expect(leftovers()).toEqual([])
  })

  it('that unpacks to far more than it is stops at the limit', async () => {
    const sources = make({ maxFileBytes: 10_000, maxFiles: 2, maxTotalBytes: 20_000 })
    const bomb = gzipSync(Buffer.alloc(50_000_000))
    expect((await refusal(sources.receive(chunked(bomb, 65536)))).code).toBe('SourceRefused')
  })

  it('that is no archive is refused', async () => {
    expect((await refusal(make().receive(chunked(Buffer.from('hello'.repeat(500)))))).code).toBe('SourceRefused')
  })
})
