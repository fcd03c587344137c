import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { CoppiceError } from '../../domain/errors.ts'
import {
  checkLinks,
  checkPathLength,
  checkSourcePath,
  isNeverTaken,
  refused,
  type SourceEntry,
  type SourceLimits,
  sourceMeter,
} from '../../domain/source-rules.ts'
import { withoutTrailing } from '../../domain/trailing.ts'
import { sha256 } from '../artifacts/manifest.ts'

/** A tar ends with two blocks of zeros; without them the upload was cut off between two files. */
const END_OF_TAR_BYTES = 1024
/** What a file costs in a tar beside its content: header, padding, and one long name. */
const TAR_BYTES_PER_FILE = 4096

/**
 * Unpacks an upload (tar, gzip or not) into the empty directory `into`, and notes the digest of each file. What it
 * contains is not trusted: every path is checked before anything is written, and links are made last, once all of them
 * are known to stay inside. Throws SourceRefused.
 */
export async function unpack(
  stream: AsyncIterable<Uint8Array>,
  into: string,
  limits: SourceLimits,
  digests: Map<string, string>,
): Promise<void> {
  const entries = new Map<string, SourceEntry>()
  const meter = sourceMeter(limits)
  const archive = extract()
  const end = { zeros: 0 }
  const maxBytes = limits.maxTotalBytes + limits.maxFiles * TAR_BYTES_PER_FILE

  const take = async (header: Header, body: AsyncIterable<Uint8Array>): Promise<void> => {
    checkPathLength(header.name)
    const path = withoutTrailing(header.name.replace(/^(?:\.\/)+/, ''), '/')
    if (header.type === 'directory' && (path === '' || path === '.')) return
    checkSourcePath(path)
    if (header.type === 'directory' || isNeverTaken(path)) return
    if (entries.has(path)) throw refused(path, 'is in the archive twice')
    const entry = meter(entryOf(header, path))
    entries.set(path, entry)
    if (entry.kind === 'link') return
    const content = await readAll(body)
    digests.set(path, sha256(content))
    await writeNew(into, path, (file) =>
      writeFile(file, content, { mode: entry.executable ? 0o755 : 0o644, flag: 'wx' }),
    )
  }
  const unpacked = (async () => {
    for await (const body of archive) {
      await take(body.header, body as AsyncIterable<Uint8Array>)
      body.resume()
    }
  })()
  const piped = pipeline(watchEnd(decoded(stream), end, maxBytes), archive as unknown as NodeJS.WritableStream)

  const [first, second] = await Promise.allSettled([unpacked, piped])
  // What is wrong with a file says more than that the stream broke off because of it.
  if (first.status === 'rejected' && saysMore(first.reason)) throw first.reason
  if (second.status === 'rejected') throw uploadError(second.reason)
  if (first.status === 'rejected') throw uploadError(first.reason)
  if (end.zeros < END_OF_TAR_BYTES) throw broken('it ends before its end mark')

  checkLinks([...entries.values()])
  for (const entry of entries.values()) {
    if (entry.kind === 'link') await writeNew(into, entry.path, (file) => symlink(entry.target, file))
  }
}

function entryOf(header: Header, path: string): SourceEntry {
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      return { kind: 'file', path, bytes: header.size ?? 0, executable: ((header.mode ?? 0) & 0o100) !== 0 }
    case 'symlink':
      return { kind: 'link', path, target: header.linkname ?? '' }
    default:
      throw refused(
        path,
        `is a ${header.type ?? 'thing of an unknown kind'}; only files and links within the source can be deployed`,
      )
  }
}

/** A file of the archive may not lie where another has put a file or a link. */
async function writeNew(into: string, path: string, write: (file: string) => Promise<void>): Promise<void> {
  const file = join(into, path)
  try {
    await mkdir(dirname(file), { recursive: true })
    await write(file)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (['EEXIST', 'ENOTDIR', 'EISDIR'].includes(code)) throw refused(path, 'lies where the archive has another file')
    if (code === 'ENAMETOOLONG') throw refused(path, 'has too long a name')
    throw error
  }
}

async function* decoded(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = stream[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  while (head.length < 2) {
    const { value, done } = await source.next()
    if (done) break
    head = Buffer.concat([head, value])
  }
  const whole = (async function* () {
    yield head
    yield* { [Symbol.asyncIterator]: () => source }
  })()
  if (head[0] !== 0x1f || head[1] !== 0x8b) {
    yield* whole
    return
  }
  const gunzip = createGunzip()
  const fed = pipeline(Readable.from(whole), gunzip)
  fed.catch(() => undefined)
  yield* gunzip
  await fed
}

/** Counts the zeros at the end of what has passed, and stops what unpacks to more than a source may hold. */
async function* watchEnd(
  chunks: AsyncIterable<Uint8Array>,
  end: { zeros: number },
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  let total = 0
  for await (const chunk of chunks) {
    total += chunk.length
    if (total > maxBytes) throw broken(`it unpacks to more than ${maxBytes} bytes`)
    let zeros = 0
    while (zeros < chunk.length && chunk[chunk.length - 1 - zeros] === 0) zeros += 1
    end.zeros = zeros === chunk.length ? end.zeros + zeros : zeros
    yield chunk
  }
}

/** An error of ours or of the system: the disk may be full. */
const saysMore = (error: unknown): boolean =>
  error instanceof CoppiceError || (error as NodeJS.ErrnoException).syscall !== undefined

function uploadError(error: unknown): unknown {
  if (saysMore(error)) return error
  return broken((error as Error).message, error)
}

function broken(reason: string, cause?: unknown): CoppiceError {
  return new CoppiceError('SourceRefused', `The upload is not a whole tar archive: ${reason}`, {}, { cause })
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}
