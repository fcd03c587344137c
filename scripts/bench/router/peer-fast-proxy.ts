import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'

const fastProxy = createRequire(import.meta.url)('fast-proxy')
const { proxy } = fastProxy({ base: `http://127.0.0.1:${process.argv[2]}` })
const server = createServer((req, res) => proxy(req, res, req.url, {}))
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
