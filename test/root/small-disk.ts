import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../runtime/artifacts/trees.ts'

/** A file system of its own that can be full without harm to the machine's; only root may mount one. */
export type SmallDisk = {
  path: string
  /** Takes all the room but about so many bytes. */
  fillUpTo(leftBytes: number): Promise<void>
  /** Gives the room back. */
  empty(): Promise<void>
  remove(): Promise<void>
}

export async function mountSmallDisk(megabytes: number): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'coppice-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0755`, 'tmpfs', path])
  const filler = join(path, 'filler')
  return {
    path,
    async fillUpTo(leftBytes) {
      execFileSync('sh', ['-c', 'dd if=/dev/zero of="$1" bs=1M 2>/dev/null || true', 'fill', filler])
      await truncate(filler, Math.max(0, (await stat(filler)).size - leftBytes))
    },
    async empty() {
      await rm(filler, { force: true })
    },
    async remove() {
      execFileSync('umount', ['-l', path])
      await removeTree(path)
    },
  }
}
