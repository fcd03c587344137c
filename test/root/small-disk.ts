import { execFileSync } from 'node:child_process'
import { mkdtemp, open, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../runtime/artifacts/trees.ts'

/** A file system of its own that can be full without harm to the machine's; only root may mount one. */
export type SmallDisk = {
  path: string
  /** Takes all the room but about so many bytes. */
  fillUpTo(leftBytes: number): Promise<void>
  /** Takes all of it, and goes on taking what others give back, until `empty`. */
  keepFull(): Promise<void>
  /** Gives the room back. */
  empty(): Promise<void>
  remove(): Promise<void>
}

export async function mountSmallDisk(megabytes: number): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'coppice-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0755`, 'tmpfs', path])
  const filler = join(path, 'filler')
  let refilling: NodeJS.Timeout | undefined
  /** Smaller and smaller pieces, until not even a page is left. */
  const fill = async () => {
    const file = await open(filler, 'a')
    try {
      for (let size = 1024 * 1024; size >= 4096; size /= 4)
        for (;;) if ((await file.write(Buffer.alloc(size)).catch(() => null)) === null) break
    } finally {
      await file.close()
    }
  }
  return {
    async keepFull() {
      await fill()
      clearInterval(refilling)
      refilling = setInterval(() => void fill().catch(() => {}), 200)
    },
    path,
    async fillUpTo(leftBytes) {
      execFileSync('sh', ['-c', 'dd if=/dev/zero of="$1" bs=1M 2>/dev/null || true', 'fill', filler])
      await truncate(filler, Math.max(0, (await stat(filler)).size - leftBytes))
    },
    async empty() {
      clearInterval(refilling)
      await rm(filler, { force: true })
    },
    async remove() {
      clearInterval(refilling)
      execFileSync('umount', ['-l', path])
      await removeTree(path)
    },
  }
}
