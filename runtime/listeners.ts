import { execFile } from 'node:child_process'
import { createReadStream, opendirSync, readlinkSync } from 'node:fs'
import { promisify } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { saysOurs } from './regular-file.ts'
import { Slice } from './slice.ts'

/**
 * Addresses (`host:port`, IPv6 hosts in brackets) on which any of the processes listens for TCP connections. Of one port
 * alone where that is given, which costs far less.
 */
export type FindListeners = (pids: number[], port?: number) => Promise<string[]>

export function systemListeners(platform: NodeJS.Platform = process.platform): FindListeners {
  return platform === 'linux' ? procListeners : lsofListeners
}

/** True for addresses that only this machine reaches: 127.0.0.0/8 and ::1, also as mapped IPv4. */
export function isLoopback(address: string): boolean {
  return /^(127\.|\[::1\]|\[::ffff:127\.)/.test(address)
}

/** A socket that listens, as the kernel's tables have it: `local` is its address in hex. */
type Socket = { local: string; port: number; inode: string }

/**
 * The tables of the kernel say which sockets listen, the descriptors of the processes whose they are. The tables first:
 * where nobody listens no descriptor has to be looked at, and the looking ends with the last socket that is found. One
 * that is opened in between is missed, one that is closed in between is not made up.
 *
 * All in slices: an app may have as many descriptors as it likes.
 */
async function procListeners(pids: number[], port?: number): Promise<string[]> {
  if (pids.length === 0) return []
  const slice = new Slice()
  const missing = new Map<string, Socket>()
  for (const path of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const socket of await listening(path, slice, port)) missing.set(socket.inode, socket)
  const found = new Set<string>()
  for (const pid of pids) {
    if (missing.size === 0) break
    await eachSocket(pid, slice, (inode) => {
      const socket = missing.get(inode)
      if (socket) found.add(toAddress(socket))
      missing.delete(inode)
      return missing.size > 0
    })
  }
  return [...found]
}

/**
 * The kernel lists those that listen before all connections (proc_net_tcp in its documentation): where one port is asked
 * for, and found, the tens of thousands of others of a busy machine are left out. Read by the pool of threads, as the
 * kernel goes through all its buckets for the last of them.
 */
async function listening(path: string, slice: Slice, port?: number): Promise<Socket[]> {
  const found: Socket[] = []
  let rest = ''
  try {
    for await (const chunk of createReadStream(path, 'latin1')) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      const sockets = lines.map(parseProcNet)
      for (const socket of sockets) if (socket && (port === undefined || socket.port === port)) found.push(socket)
      if (port !== undefined && found.length > 0 && sockets.at(-1) === null) break
      if (slice.isOver) await slice.next()
    }
  } catch (error) {
    throwOurs(error as NodeJS.ErrnoException)
  }
  return found
}

/** Calls `visit` with the inodes of the sockets that it has, until that returns false. */
async function eachSocket(pid: number, slice: Slice, visit: (inode: string) => boolean): Promise<void> {
  const path = `/proc/${pid}/fd`
  const folder = orGone(() => opendirSync(path))
  if (folder === null) return
  try {
    for (let entry = orGone(() => folder.readSync()); entry !== null; entry = orGone(() => folder.readSync())) {
      const { name } = entry
      const inode = SOCKET.exec(orGone(() => readlinkSync(`${path}/${name}`)) ?? '')?.[1]
      if (inode !== undefined && !visit(inode)) return
      if (slice.isOver) await slice.next()
    }
  } finally {
    folder.closeSync()
  }
}

const SOCKET = /^socket:\[(\d+)\]$/

/** Null where it has gone, or is another user's. */
function orGone<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    throwOurs(error as NodeJS.ErrnoException)
    return null
  }
}

/** Trouble of ours, as no free descriptor, says nothing of the app. */
function throwOurs(error: NodeJS.ErrnoException): void {
  if (saysOurs(error)) throw error
}

/** A line of /proc/net/tcp or tcp6 in state 0A, LISTEN; null for others. */
export function parseProcNet(line: string): Socket | null {
  const [, local = '', port = '', inode = ''] = LISTENING.exec(line) ?? []
  return inode === '' ? null : { local, port: Number.parseInt(port, 16), inode }
}

/** Behind the state: queues, timer, retransmits, user, timeout. */
const LISTENING = /^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ 0A (?:\S+ +){5}(\d+)/

export const toAddress = ({ local, port }: Socket): string => `${toHost(local)}:${port}`

/** The kernel prints each 32-bit word of an address in the machine's byte order, which is little-endian wherever Node runs but on s390x. */
function toHost(hex: string): string {
  const bytes = hex.match(/.{8}/g)?.flatMap((word) => (word.match(/../g) ?? []).reverse()) ?? []
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => `${bytes[2 * i]}${bytes[2 * i + 1]}`)
  // The WHATWG parser knows how IPv6 is abbreviated (RFC 5952); it also brings the brackets.
  return new URL(`http://[${groups.join(':')}]`).hostname
}

const run = promisify(execFile)

/** macOS has no /proc; lsof is part of it. */
async function lsofListeners(pids: number[], port?: number): Promise<string[]> {
  if (pids.length === 0) return []
  try {
    const { stdout } = await run('lsof', [
      '-nP',
      '-a',
      port === undefined ? '-iTCP' : `-iTCP:${port}`,
      '-sTCP:LISTEN',
      '-p',
      pids.join(','),
      '-FPn',
    ])
    return parseLsof(stdout)
  } catch (error) {
    const { code, stdout } = error as { code?: unknown; stdout?: string }
    if (code === 'ENOENT') {
      throw new CoppiceError('ToolMissing', 'lsof is needed to see on which addresses an app listens')
    }
    // 1 means that some pid has gone or listens nowhere; what was found is printed all the same.
    if (code === 1) return parseLsof(stdout ?? '')
    throw error
  }
}

/** `-F n` output: one field a line, `n*:8000` for every address (which lsof does not tell apart by family). */
export function parseLsof(text: string): string[] {
  const names = text.split('\n').filter((line) => line.startsWith('n'))
  return [...new Set(names.map((line) => line.slice(1).replace(/^\*:/, '0.0.0.0:')))]
}
