import { type ChildProcess, spawn } from 'node:child_process'
import cluster from 'node:cluster'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { startOrigin } from './origin.ts'

/** An app in a process of its own, or in several on one port, for tests that kill or stop it. */
export type OriginProcess = { name: string; port: number; address: string; child: ChildProcess; end(): Promise<void> }

/** @param workers 1 for one process; else so many beside the one that starts them, in one process group with it */
export async function spawnOrigin(name: string, port = 0, workers = 1): Promise<OriginProcess> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), name, String(port), String(workers)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: workers > 1,
  })
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).once('line', resolve)
    child.once('exit', (code) => reject(new Error(`origin ${name} ended with ${code}`)))
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    name,
    port: Number(line),
    address: `127.0.0.1:${line}`,
    child,
    end: async () => {
      if (workers === 1) child.kill('SIGKILL')
      else if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid as number), 'SIGKILL')
      await exited
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name = 'origin', port = '0', workers = '1'] = process.argv
  if (workers !== '1' && cluster.isPrimary) startWorkers(Number(workers))
  else startOrigin(name, Number(port)).then((origin) => cluster.isPrimary && console.log(origin.port))
}

/** Who accepts is left to the kernel, as with `uvicorn --workers`. */
function startWorkers(count: number): void {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  let listening = 0
  cluster.on('listening', (_, { port }) => {
    if (++listening === count) console.log(port)
  })
  for (let i = 0; i < count; i++) cluster.fork()
}
