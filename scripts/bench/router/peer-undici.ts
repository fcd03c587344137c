import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Pool } from 'undici'

/** Bare undici: the least that can be called a proxy, with none of a router's duties. */
const pool = new Pool(`http://127.0.0.1:${process.argv[2]}`, { allowH2: false })
const server = createServer((req, res) => {
  const headers: string[] = []
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] as string
    if (!/^(?:connection|transfer-encoding|keep-alive)$/i.test(name))
      headers.push(name, req.rawHeaders[i + 1] as string)
  }
  const hasBody = req.method !== 'GET'
  pool.dispatch(
    { path: req.url as string, method: req.method as 'GET', headers, body: hasBody ? req : null },
    {
      onRequestStart() {},
      onResponseStart(_controller, status, received) {
        delete received.connection
        delete received['keep-alive']
        res.writeHead(status, received as never)
      },
      onResponseData(controller, chunk) {
        if (!res.write(chunk)) {
          controller.pause()
          res.once('drain', () => controller.resume())
        }
      },
      onResponseEnd() {
        res.end()
      },
      onResponseError() {
        res.destroy()
      },
    },
  )
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
