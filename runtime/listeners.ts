import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { promisify } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'

/** Addresses (`host:port`, IPv6 hosts in brackets) on which any of the processes listens for TCP connections. */
export type FindListeners = (pids: number[]) => Promise<string[]>

export function systemListeners(platform: NodeJS.Platform = process.platform): FindListeners {
  return platform === 'linux' ? procListeners : lsofListeners
}

/** True for addresses that only this machine reaches: 127.0.0.0/8 and ::1, also as mapped IPv4. */
export function isLoopback(address: string): boolean {
  return /^(127\.|\[::1\]|\[::ffff:127\.)/.test(address)
}

/**
 * The sockets of the processes are found by the inodes of their descriptors. Sockets are looked up second: one that
 * is opened in between is missed, one that is closed in between is not made up.
 */
async function procListeners(pids: number[]): Promise<string[]> {
  const inodes = new Set(pids.flatMap(socketInodes))
  if (inodes.size === 0) return []
  const sockets = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) => parseProcNet(readOr(path)))
  return [...new Set(sockets.filter(({ inode }) => inodes.has(inode)).map(({ address }) => address))]
}

function socketInodes(pid: number): string[] {
  const folder = `/proc/${pid}/fd`
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    return []
  }
  return names.flatMap((name) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`${folder}/${name}`))?.[1] ?? []
    } catch {
      return []
    }
  })
}

/** Lines of /proc/net/tcp and tcp6 (proc_net_tcp in the kernel's documentation) in state 0A, LISTEN. */
export function parseProcNet(text: string): Array<{ address: string; inode: string }> {
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [, local, , state] = fields
    const inode = fields[9]
    if (state !== '0A' || !local || !inode) return []
    const [host = '', port = ''] = local.split(':')
    return [{ address: `${toHost(host)}:${Number.parseInt(port, 16)}`, inode }]
  })
}

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
async function lsofListeners(pids: number[]): Promise<string[]> {
  if (pids.length === 0) return []
  try {
    const { stdout } = await run('lsof', ['-nP', '-a', '-iTCP', '-sTCP:LISTEN', '-p', pids.join(','), '-FPn'])
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

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
