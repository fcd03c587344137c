import { BlockList, isIP, type Socket } from 'node:net'
import { CoppiceError } from '../domain/errors.ts'

/** Who is at the other end of a client connection; found out once per connection. */
export type Peer = {
  readonly ip: string
  readonly trusted: boolean
  readonly loopback: boolean
  readonly tls: boolean
  /** The port of the router that it came to. */
  readonly localPort: number
}

type KnownSocket = Socket & { coppicePeer?: Peer; encrypted?: boolean }

export class Peers {
  private readonly trustedProxies = new BlockList()

  /** @param trustedProxies addresses or CIDR ranges; throws InvalidInput for anything else */
  constructor(trustedProxies: readonly string[]) {
    for (const entry of trustedProxies) {
      const [address = '', bits, ...more] = entry.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      const width = family === 'ipv6' ? 128 : 32
      const prefix = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
      if (isIP(address) === 0 || !(prefix <= width) || more.length > 0) {
        throw new CoppiceError('InvalidInput', `--trusted-proxies: "${entry}" is neither an address nor a CIDR range`)
      }
      this.trustedProxies.addSubnet(address, prefix, family)
    }
  }

  of(socket: KnownSocket): Peer {
    const known = socket.coppicePeer
    if (known !== undefined) return known
    const ip = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
    const version = isIP(ip)
    const peer: Peer = {
      ip,
      trusted: version !== 0 && this.trustedProxies.check(ip, version === 6 ? 'ipv6' : 'ipv4'),
      loopback: ip === '::1' || ip.startsWith('127.'),
      tls: socket.encrypted === true,
      localPort: socket.localPort ?? 0,
    }
    socket.coppicePeer = peer
    return peer
  }
}
