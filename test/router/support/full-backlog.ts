import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

/**
 * An instance of its own process that is stopped, with as many connections waiting as its queue takes: what comes now
 * gets no answer to its SYN, as with one whose event loop is blocked and whose queue is short.
 */
export type FullBacklog = {
  name: string
  address: string
  /** It goes on; what waited in its queue is closed. */
  goOn(): void
  /** Requests that it has answered. */
  seen: string[]
  close(): Promise<void>
}

const BACKLOG = 1
const PROGRAM = `
const server = require('node:http').createServer((req, res) => {
  console.log(req.method + ' ' + req.url)
  req.resume().on('end', () => res.end(process.argv[1]))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: ${BACKLOG} }, () => console.log(server.address().port))`

export async function fullBacklog(name: string): Promise<FullBacklog> {
  const child = spawn(process.execPath, ['-e', PROGRAM, name], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const port = Number((await once(lines, 'line'))[0])
  const seen: string[] = []
  lines.on('line', (line) => seen.push(line))
  child.kill('SIGSTOP')
  // Linux takes one more than it was told.
  const waiting: Socket[] = Array.from({ length: BACKLOG + 1 }, () => connect(port, '127.0.0.1'))
  await Promise.all(waiting.map((socket) => once(socket, 'connect')))
  return {
    name,
    address: `127.0.0.1:${port}`,
    seen,
    goOn: () => {
      for (const socket of waiting) socket.destroy()
      child.kill('SIGCONT')
    },
    close: async () => {
      for (const socket of waiting) socket.destroy()
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}
