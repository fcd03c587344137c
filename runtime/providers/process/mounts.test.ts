import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { isHere, meansOurs, parseMounts, whereOnDisk } from './mounts.ts'

const where = (path: string, lines: string[]) => whereOnDisk(path, parseMounts(`${lines.join('\n')}\n`))
const ROOT = '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw'

it('R14.1 a path is told by its disk and where on it, so a bind mount of the same folder is the same, and of another not', () => {
  const here = where('/srv/data/instances', [ROOT])
  expect(here).toBe('8:1 /srv/data/instances')
  const container = '90 80 0:50 / / rw - overlay overlay rw'
  expect(where('/srv/data/instances', [container])).toBe('0:50 /srv/data/instances')
  expect(where('/srv/data/instances', [container, '91 90 8:1 /srv/data /srv/data rw - ext4 x rw'])).toBe(here)
  expect(where('/srv/data/instances', [container, '91 90 8:1 /srv/other /srv/data rw - ext4 x rw'])).not.toBe(here)
  expect(where('/srv/data-two', [container, '91 90 8:1 / /srv/data rw - ext4 x rw'])).toBe('0:50 /srv/data-two')
})

it('R14.1 what is mounted upon a mount, or upon a folder above it, hides that', () => {
  const below = '30 22 8:2 / /srv/data rw - ext4 x rw'
  expect(where('/srv/data/a', [ROOT, below])).toBe('8:2 /a')
  expect(where('/srv/data/a', [ROOT, below, '31 30 8:3 / /srv/data rw - ext4 x rw'])).toBe('8:3 /a')
  expect(where('/srv/data/a', [ROOT, below, '32 22 8:4 / /srv rw - ext4 x rw'])).toBe('8:4 /data/a')
})

it('reads names that hold what would part them, a root that is mounted on itself, and nothing from nothing', () => {
  expect(where('/a b/c', [ROOT, String.raw`30 22 8:2 / /a\040b rw - ext4 x rw`])).toBe('8:2 /c')
  expect(where('/a', ['1 1 0:2 / / rw - rootfs rootfs rw'])).toBe('0:2 /a')
  expect(where('/a', ['30 22 8:2 / /b rw - ext4 x rw'])).toBeNull()
  expect(parseMounts('30 22 8:2')).toEqual([])
})

it('R14.1 a process beside us, or one that has gone, means what we mean', async () => {
  const child = spawn('sleep', ['60'])
  await once(child, 'spawn')
  const ended = once(child, 'exit')
  for (const pid of [child.pid as number, process.pid, 2 ** 22 + 1])
    expect([isHere(pid, ['/srv/data']), meansOurs(pid, ['/srv/data'])]).toEqual([true, true])
  child.kill('SIGKILL')
  await ended
})
