import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { LoadOrder, LoadResult } from './load.ts'
import { type Cores, cpuSeconds, forkPinned } from './machine.ts'

export type Measured = LoadResult & {
  /** CPU time of the proxy per request, in µs. */
  cpuMicros: number
}

/** Runs one load against one proxy; the CPU time is that of the measured seconds alone. */
export async function measure(pids: readonly number[], order: LoadOrder, cores: Cores): Promise<Measured> {
  const child: ChildProcess = forkPinned(cores?.load, join(import.meta.dirname, 'load.ts'))
  let before = 0
  let used = 0
  const result = await new Promise<LoadResult>((resolve, reject) => {
    child.on('message', (message: 'measuring' | 'measured' | LoadResult) => {
      if (message === 'measuring') before = cpuSeconds(pids)
      else if (message === 'measured') used = cpuSeconds(pids) - before
      else resolve(message)
    })
    child.on('exit', (code) => reject(new Error(`the load ended with ${code}`)))
    child.send(order)
  })
  child.removeAllListeners('exit')
  child.kill()
  return { ...result, cpuMicros: (used / Math.max(1, result.requests)) * 1e6 }
}
