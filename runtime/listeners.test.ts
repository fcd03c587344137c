import { closeSync, opendirSync, openSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { portOf } from '../domain/address.ts'
import { isLoopback, parseLsof, parseProcNet, systemListeners, toAddress } from './listeners.ts'

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  return { ...real, readlinkSync: vi.fn(real.readlinkSync), opendirSync: vi.fn(real.opendirSync) }
})
afterEach(() => {
  vi.restoreAllMocks()
})

it('finds what a process listens on, by address and port, and not what others listen on', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  try {
    expect(await systemListeners()([process.pid])).toContain(`127.0.0.1:${port}`)
    expect(await systemListeners()([process.ppid])).not.toContain(`127.0.0.1:${port}`)
    expect(await systemListeners()([])).toEqual([])
    expect(await systemListeners()([process.pid], port)).toEqual([`127.0.0.1:${port}`])
    expect(await systemListeners()([process.ppid], port)).toEqual([])
  } finally {
    server.close()
  }
})

it.runIf(process.platform === 'linux')(
  'R1.6 lets others run while it goes through a process with many descriptors, and through none where nobody listens',
  async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const held = Array.from({ length: 300 }, () => openSync('/dev/null', 'r'))
    let elapsed = 0
    let turns = 0
    const count = () => {
      turns++
      counting = setImmediate(count)
    }
    let counting = setImmediate(count)
    try {
      // Each look at the time is a millisecond later than the one before.
      vi.spyOn(performance, 'now').mockImplementation(() => elapsed++)
      vi.mocked(readlinkSync).mockClear()
      await systemListeners()([process.pid])
      const looks = vi.mocked(readlinkSync).mock.calls.length
      expect(looks).toBeGreaterThan(held.length)
      expect(turns).toBeGreaterThan(looks / 4)
      server.close()
      await new Promise((resolve) => server.once('close', resolve))
      vi.mocked(readlinkSync).mockClear()
      expect(await systemListeners()([process.pid], port)).toEqual([])
      expect(readlinkSync).not.toHaveBeenCalled()
    } finally {
      clearImmediate(counting)
      for (const descriptor of held) closeSync(descriptor)
      server.close()
    }
  },
)

it.runIf(process.platform === 'linux')(
  'R12.8 does not say that an app listens nowhere where it has no descriptor left to look, but says so of one that has gone',
  async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const failing = (code: string) =>
      vi.mocked(opendirSync).mockImplementationOnce(() => {
        throw Object.assign(new Error(code), { code })
      })
    try {
      failing('EMFILE')
      await expect(systemListeners()([process.pid])).rejects.toThrow('EMFILE')
      failing('ENOENT')
      expect(await systemListeners()([process.pid])).toEqual([])
    } finally {
      server.close()
    }
  },
)

it('reads the tables of the kernel', () => {
  const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
  const row = (local: string, state: string, inode: number) =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  1000        0 ${inode} 1 0 100 0 0 10 0\n`
  const [socket, ...others] = (head + row('0100007F:1F90', '0A', 11) + row('0100007F:1F90', '01', 12))
    .split('\n')
    .flatMap((line) => parseProcNet(line) ?? [])
  expect(socket).toEqual({ local: '0100007F', port: 8080, inode: '11' })
  expect(others).toEqual([])
  expect(
    ['0100007F', '0'.repeat(32), '00000000000000000000000001000000', 'B80D0120000000000000000001000000'].map((local) =>
      toAddress({ local, port: 80, inode: '1' }),
    ),
  ).toEqual(['127.0.0.1:80', '[::]:80', '[::1]:80', '[2001:db8::1]:80'])
})

it('reads what lsof prints', () => {
  expect(parseLsof('p42\nf5\nPTCP\nn*:8000\nf6\nPTCP\nn127.0.0.1:9\nf7\nPTCP\nn[::1]:9\n')).toEqual([
    '0.0.0.0:8000',
    '127.0.0.1:9',
    '[::1]:9',
  ])
})

it('tells loopback from the rest', () => {
  expect(['127.0.0.1:1', '127.8.0.1:1', '[::1]:1', '[::ffff:127.0.0.1]:1'].every(isLoopback)).toBe(true)
  expect(['0.0.0.0:1', '[::]:1', '10.0.0.127:1', '[2001:db8::1]:1'].some(isLoopback)).toBe(false)
  expect(portOf('[::1]:8080')).toBe(8080)
})
