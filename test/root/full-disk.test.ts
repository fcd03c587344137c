import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { Platform } from '../helpers/platform.ts'
import { mountSmallDisk } from './small-disk.ts'

it('R12.8 a machine whose disk is full: the deployment undoes itself and the old instances serve on', async () => {
  const disk = await mountSmallDisk(160)
  try {
    const platform = await Platform.start({ home: join(disk.path, 'home') })
    try {
      await platform.write('full', { version: '1' })
      await platform.deploy('full', { instances: 2 })
      await platform.write('full', { version: '2' })
      for (let i = 0; i < 6; i++)
        await writeFile(join(platform.sources, 'full', `big-${i}`), Buffer.alloc(9_000_000, i))
      await disk.fillUpTo(20_000_000)
      const failed = await platform.deploy('full')
      expect(failed).toMatchObject({
        state: 'FAILED',
        failure: { code: 'DiskFull', step: 'Take a snapshot of the source' },
      })
      expect(await platform.version('full')).toBe('1')
      await platform.settled({ full: 2 })
      await disk.empty()
      await platform.write('full', { version: '3' })
      for (let i = 0; i < 6; i++) await rm(join(platform.sources, 'full', `big-${i}`))
      expect((await platform.deploy('full')).state).toBe('SUCCEEDED')
      expect(await platform.version('full')).toBe('3')
    } finally {
      await platform.stop()
    }
  } finally {
    await disk.remove()
  }
})
