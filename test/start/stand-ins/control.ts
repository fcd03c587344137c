/** Stands in for the control plane where only the supervision of it is tested. */
import { createServer } from 'node:http'

const [host, port] = (process.env.COPPICE_API_LISTEN as string).split(':') as [string, string]
createServer((_request, response) => response.end('{}')).listen(Number(port), host)
