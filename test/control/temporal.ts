/** A Temporal server of a test's own: the embedded one of the platform, in memory, without a worker. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import { freePorts } from '../../scripts/stack/ports.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'

export type TestTemporal = { address: string; client: Client; stop(): Promise<void> }

export async function startTestTemporal(): Promise<TestTemporal> {
  const { path } = await resolveTool('temporal')
  const [port] = (await freePorts(1)) as [number]
  const address = `127.0.0.1:${port}`
  const reuse = ['--dynamic-config-value', 'history.workflowIdReuseMinimalInterval=0']
  const args = [
    'server',
    'start-dev',
    '--headless',
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    '--log-level',
    'error',
  ]
  const server = spawn(path, [...args, ...reuse], { stdio: 'ignore' })
  const exited = once(server, 'exit')
  for (const end = Date.now() + 30_000; !(await accepts(port)); await sleep(50))
    if (Date.now() > end) throw new Error('the Temporal server did not start')
  const connection = await Connection.connect({ address, connectTimeout: '20s' })
  const client = new Client({ connection })
  // It accepts connections before the namespace is there.
  for (const end = Date.now() + 30_000; !(await hasNamespace(client)); await sleep(50))
    if (Date.now() > end) throw new Error('the Temporal server has no namespace')
  return {
    address,
    client,
    async stop() {
      await connection.close()
      server.kill('SIGKILL')
      await exited
    },
  }
}

const hasNamespace = (client: Client): Promise<boolean> =>
  client.workflowService.describeNamespace({ namespace: 'default' }).then(
    () => true,
    () => false,
  )

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    const tell = (is: boolean) => {
      socket.destroy()
      resolve(is)
    }
    socket.once('connect', () => tell(true)).once('error', () => tell(false))
  })
}
