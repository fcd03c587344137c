import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { FolderReader } from '../../domain/source-rules.ts'

/** A folder of this machine, for domain/source-rules.ts. Links are never followed. */
export function folderReader(folder: string): FolderReader {
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
