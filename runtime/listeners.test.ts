import { createServer } from 'node:net'
import { expect, it } from 'vitest'
import { portOf } from '../domain/address.ts'
import { isLoopback, parseLsof, parseProcNet, systemListeners } from './listeners.ts'

it('finds what a process listens on, by address and port, and not what others listen on', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  try {
    expect(await systemListeners()([process.pid])).toContain(`127.0.0.1:${port}`)
    expect(await systemListeners()([process.ppid])).not.toContain(`127.0.0.1:${port}`)
    expect(await systemListeners()([])).toEqual([])
  } finally {
    server.close()
  }
})

it('reads the tables of the kernel', () => {
  const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
  const row = (local: string, state: string, inode: number) =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  1000        0 ${inode} 1 0 100 0 0 10 0\n`
  expect(parseProcNet(head + row('0100007F:1F90', '0A', 11) + row('0100007F:1F90', '01', 12))).toEqual([
    { address: '127.0.0.1:8080', inode: '11' },
  ])
  const addresses = ['0'.repeat(32), '00000000000000000000000001000000', 'B80D0120000000000000000001000000']
  expect(
    addresses.flatMap((local) => parseProcNet(row(`${local}:0050`, '0A', 1))).map((found) => found.address),
  ).toEqual(['[::]:80', '[::1]:80', '[2001:db8::1]:80'])
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
