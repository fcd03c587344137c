import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Puts processes into uninterruptible sleep, as a disk that does not answer does: those in a frozen group of the first
 * version of control groups stay when they are killed, until they are thawed.
 */
export function makeFreezer() {
  const mount = mkdtempSync(join(tmpdir(), 'coppice-freezer-'))
  execFileSync('mount', ['-t', 'cgroup', '-o', 'freezer', 'cgroup', mount])
  const group = join(mount, `coppice-test-${process.pid}`)
  mkdirSync(group)
  const become = (state: 'FROZEN' | 'THAWED') => writeFileSync(join(group, 'freezer.state'), state)
  return {
    freeze(pid: number): void {
      writeFileSync(join(group, 'cgroup.procs'), String(pid))
      become('FROZEN')
    },
    thaw: () => become('THAWED'),
    /** Nobody may be in it any more. */
    remove(): void {
      rmdirSync(group)
      execFileSync('umount', [mount])
      rmdirSync(mount)
    },
  }
}
