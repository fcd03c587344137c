/** Stands in for the router where only the supervision of it is tested. */
import { createServer } from 'node:http'

const [host, port] = (process.env.COPPICE_ROUTER_LISTEN as string).split(':') as [string, string]
createServer((_request, response) => response.end('routed')).listen(Number(port), host)
