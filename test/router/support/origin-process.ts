import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { startOrigin } from './origin.ts'

/** An app in a process of its own, for tests that kill or stop it. */
export type OriginProcess = { name: string; port: number; address: string; child: ChildProcess; end(): Promise<void> }

export async function spawnOrigin(name: string, port = 0): Promise<OriginProcess> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), name, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
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
      child.kill('SIGKILL')
      await exited
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name = 'origin', port = '0'] = process.argv
  startOrigin(name, Number(port)).then((origin) => console.log(origin.port))
}
