import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { type FolderReader, refused, SOURCE_LIMITS, type SourceEntry, selectSource } from '../domain/source-rules.ts'

/**
 * Packs a folder as a gzipped tar, for upload: what domain/source-rules.ts takes, without times and owners, so that
 * the same content always gives the same digest. Throws SourceRefused, which names the file, before the first byte.
 */
export async function* packSource(folder: string, limits = SOURCE_LIMITS): AsyncGenerator<Buffer, void, undefined> {
  const entries = await selectSource(folderReader(folder), limits)
  const tar = pack()
  const gzip = createGzip({ level: 6 })
  tar.on('error', (error) => gzip.destroy(error))
  tar.pipe(gzip)
  writeEntries(tar, folder, entries, limits.maxFileBytes).catch((error: Error) => tar.destroy(error))
  try {
    for await (const chunk of gzip) yield chunk
  } finally {
    tar.destroy()
  }
}

async function writeEntries(
  tar: ReturnType<typeof pack>,
  folder: string,
  entries: readonly SourceEntry[],
  maxFileBytes: number,
): Promise<void> {
  for (const entry of entries) {
    const header = { name: entry.path, mtime: new Date(0), uid: 0, gid: 0 }
    if (entry.kind === 'link') {
      tar.entry({ ...header, type: 'symlink', linkname: entry.target })
      continue
    }
    // Read whole (at most maxFileBytes): a file that grows while it is read must not break the frame of the tar.
    const bytes = await readFile(join(folder, entry.path))
    if (bytes.length > maxFileBytes) throw refused(entry.path, `is larger than ${maxFileBytes} bytes`)
    await new Promise<void>((resolve, reject) => {
      const mode = entry.executable ? 0o755 : 0o644
      tar.entry({ ...header, mode, size: bytes.length }, bytes, (error) => (error ? reject(error) : resolve()))
    })
  }
  tar.finalize()
}

function folderReader(folder: string): FolderReader {
  return {
    list: async (directory) =>
      (await readdir(join(folder, directory), { withFileTypes: true })).map((entry) => ({
        name: entry.name,
        kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'link' : 'other',
      })),
    stat: async (path) => {
      const { size, mode } = await lstat(join(folder, path))
      return { bytes: size, executable: (mode & 0o100) !== 0 }
    },
    readLink: (path) => readlink(join(folder, path)),
    readText: (path) => readFile(join(folder, path), 'utf8'),
    pause: () => setImmediate(),
  }
}
