import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ROOT } from '../../scripts/stack-options.ts'
import { withoutProxyForLoopback } from '../../scripts/toolchain/proxy.ts'
import type { SummaryData } from '../k6/summary.ts'
import { LogTail } from './log-tail.ts'

/** As k6 itself ends when we interrupt it after its work is done (its errext/exitcodes). */
const EXIT_SIGNAL = 105
const EXIT_THRESHOLDS = 99
const QUIET_TIMEOUT_MS = 70_000

export type K6Run = {
  /** Attempts so far. */
  attempts(): number
  /** Of those, the ones without a good answer. */
  failures(): number
  /** Lets k6 end as soon as its DURATION is over, or now, and waits for that; there may be no summary then. */
  finish(how: { now: boolean; signal: AbortSignal }): Promise<{ summary: SummaryData | null; history: string }>
  /** Rejects when k6 ends by itself although nobody told it to. */
  readonly died: Promise<never>
}

/** Runs one script of k6 that goes on, whatever its DURATION, until `finish`. */
export async function startK6(options: {
  k6: string
  /** File name in `loadtest/`. */
  script: string
  env: Record<string, string>
  /** Likewise for the script, but in its environment: of its arguments everybody on the machine can read. */
  secrets: Record<string, string>
  folder: string
  /** Without a new line in the history for so long nobody is asking any more. */
  quietMs: number
}): Promise<K6Run> {
  const { k6, script, env, secrets, folder, quietMs } = options
  const historyFile = join(folder, 'history.txt')
  const summaryFile = join(folder, 'summary.json')
  // k6 appends to what an earlier run left.
  for (const file of [historyFile, summaryFile]) await rm(file, { force: true })
  const control = await startControl()
  const variables = {
    ...env,
    HISTORY: '1',
    SUMMARY: summaryFile,
    CONTROL_URL: control.url,
  }
  const child = spawn(
    k6,
    [
      'run',
      '--quiet',
      '--no-usage-report',
      // Its REST API would want the same port in every k6 on this machine.
      ...['--address', '127.0.0.1:0'],
      ...['--log-format', 'raw', '--console-output', historyFile],
      ...Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
      join(ROOT, 'loadtest', script),
    ],
    // A group of its own: Ctrl-C in a terminal reaches the runner alone, which ends things in their order.
    {
      env: { ...process.env, ...withoutProxyForLoopback(process.env), ...secrets },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  )
  // Without a descriptor for it there is no process, and it has no streams.
  await once(child, 'spawn')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
  const exited = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const tail = new LogTail(historyFile)
  let finishing = false
  let attempts = 0
  let failures = 0
  let read = 0
  const watch = setInterval(async () => {
    const lines = await tail.all()
    for (; read < lines.length; read++) {
      const status = Number((lines[read] as string).split(' ')[9])
      attempts++
      if (!(status >= 200 && status < 400)) failures++
    }
  }, 200)
  const died = exited.then(([code]) => {
    if (!finishing) throw new Error(`k6 ended with ${code} before the run was over:\n${output.trim().slice(-2_000)}`)
    return new Promise<never>(() => {})
  })
  died.catch(() => {})

  const end = async () => {
    finishing = true
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT')
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
    const [code] = await exited
    clearTimeout(late)
    clearInterval(watch)
    tail.stop()
    control.close()
    return code
  }
  return {
    attempts: () => attempts,
    failures: () => failures,
    died,
    finish: async ({ now, signal }) => {
      control.answer = 'stop'
      if (!now) await Promise.race([untilQuiet(control, () => attempts, { quietMs, signal }), died])
      const code = await end()
      const history = await readFile(historyFile, 'utf8').catch(() => '')
      if (!now && code !== 0 && code !== EXIT_SIGNAL && code !== EXIT_THRESHOLDS) {
        throw new Error(`k6 ended with ${code}:\n${output.trim().slice(-2_000)}`)
      }
      return { summary: await readSummary(summaryFile), history }
    },
  }
}

/** Null where there is none, or half of one: k6 ends with 0 also when it could not write it. */
export async function readSummary(path: string): Promise<SummaryData | null> {
  try {
    const summary = JSON.parse(await readFile(path, 'utf8')) as Partial<SummaryData>
    return summary.metrics === undefined ? null : (summary as SummaryData)
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

type Control = { url: string; answer: 'go on' | 'stop'; stopTold: boolean; close(): void }

/** Where users ask, once DURATION is over, whether to go on. */
async function startControl(): Promise<Control> {
  // A path that nobody can guess: a web page that comes by must not end a run.
  const path = `/${randomUUID()}`
  const server = createServer((request, response) => {
    if (request.url !== path) return void response.writeHead(404).end()
    if (control.answer === 'stop') control.stopTold = true
    response.end(control.answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const control: Control = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`,
    answer: 'go on',
    stopTold: false,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
  return control
}

/** Until every user has been told to stop, and has the answers that it waits for. */
async function untilQuiet(
  control: Control,
  attempts: () => number,
  { quietMs, signal }: { quietMs: number; signal: AbortSignal },
): Promise<void> {
  while (!control.stopTold && !signal.aborted) await sleep(50)
  let last = attempts()
  let since = performance.now()
  for (
    const end = performance.now() + QUIET_TIMEOUT_MS;
    performance.now() < end && performance.now() - since < quietMs && !signal.aborted;
    await sleep(100)
  ) {
    if (attempts() === last) continue
    last = attempts()
    since = performance.now()
  }
}
