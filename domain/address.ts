/** Addresses of instances and listeners, `host:port`, IPv6 hosts in brackets (RFC 3986 3.2.2). */

export const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1))

/** As `connect` takes them: the host of an IPv6 address without its brackets. */
export function hostAndPort(address: string): { host: string; port: number } {
  return { host: address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, ''), port: portOf(address) }
}
