import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, realpath } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { coppice } from '../cli/cli.ts'
import { Platform } from '../helpers/platform.ts'

it('R13.8 a directory that cannot be removed is set aside and told, and holds neither the operation nor the next one', async () => {
  const platform = await Platform.start()
  const mounts: string[] = []
  try {
    await platform.write('stuck', { version: '1' })
    await platform.deploy('stuck', { instances: 1 })
    const { body } = await platform.stack.api('GET', '/api/coppice/v1/apps/stuck/instances')
    const [{ id }] = body.instances as [{ id: string }]
    const folder = join(platform.stack.home, 'instances', id, 'tmp')
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder])
    mounts.push(folder)

    await platform.write('stuck', { version: '2' })
    const { state, steps } = await platform.deploy('stuck')
    expect(state).toBe('SUCCEEDED')
    const trash = join(platform.stack.home, 'instances', '.trash')
    const [grave] = await readdir(trash)
    mounts.push(join(trash, grave as string, 'tmp'))
    expect(steps?.find(({ step }) => step === `stop/${id}`)?.detail).toContain(
      `set aside as ${join(trash, grave as string)}`,
    )
    await platform.settled({ stuck: 1 })
    const doctor = await platform.stack.api('GET', '/api/coppice/v1/doctor')
    const checks = doctor.body.checks as Array<{ name: string; ok: boolean; message: string }>
    expect(checks.find(({ name }) => name === 'set aside')).toMatchObject({
      ok: false,
      message: expect.stringContaining(id),
    })
    const deleted = await platform.stack.api('DELETE', '/api/2.0/apps/stuck')
    expect(deleted.status).toBe(200)
    expect((await platform.ended((await platform.lastOperation('stuck')).id)).state).toBe('SUCCEEDED')
  } finally {
    for (const path of mounts) execFileSync('sh', ['-c', 'umount "$0" 2>/dev/null || true', path])
    await platform.stop()
  }
})

it('R13.8 a folder of instances on a disk that became read-only holds no operation and no down, and the doctor names what stays there', async () => {
  const own = await mkdtemp(join(tmpdir(), 'coppice-read-only-'))
  const home = join(own, 'home')
  const platform = await Platform.start({ home })
  const folder = await realpath(join(home, 'instances'))
  try {
    await platform.write('stuck', { version: '1' })
    await platform.deploy('stuck', { instances: 1 })
    const { body } = await platform.stack.api('GET', '/api/coppice/v1/apps/stuck/instances')
    const [{ id }] = body.instances as [{ id: string }]
    execFileSync('mount', ['--bind', folder, folder])
    execFileSync('mount', ['-o', 'remount,ro,bind', folder])

    expect((await platform.stack.api('DELETE', '/api/2.0/apps/stuck')).status).toBe(200)
    const { state, steps } = await platform.ended((await platform.lastOperation('stuck')).id)
    expect(state).toBe('SUCCEEDED')
    expect(steps?.find(({ step }) => step === `stop/${id}`)?.detail).toContain('stays where it is')
    const doctor = await platform.stack.api('GET', '/api/coppice/v1/doctor')
    const checks = doctor.body.checks as Array<{ name: string; ok: boolean; message: string }>
    expect(checks.find(({ name }) => name === 'set aside')).toMatchObject({
      ok: false,
      message: expect.stringContaining(join('instances', id)),
    })
    await platform.stack.stop({ keepInstances: true })
    const down = await coppice(['down'], { home }).ended
    expect(down, down.err).toMatchObject({ code: 0, err: expect.stringContaining(`Of ${id} something is left`) })
  } finally {
    execFileSync('sh', ['-c', 'umount "$0" 2>/dev/null || true', folder])
    await platform.stop()
    await removeTree(own)
  }
})
