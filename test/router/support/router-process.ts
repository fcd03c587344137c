import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { RouteTable } from '../../../domain/route-table.ts'
import { removeTree } from '../../../runtime/artifacts/trees.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

export type LogLine = { msg?: string; event?: string; address?: string; admin?: string; [key: string]: unknown }

/** A real router, as a process. */
export type RouterProcess = {
  child: ChildProcess
  url: string
  port: number
  dir: string
  log: LogLine[]
  /** Asks the admin listener; parsed JSON, or text for /metrics. */
  admin(path: string, method?: string): Promise<never>
  /** For a router with a routes file: replaces it, and resolves when it is in force. */
  setRoutes(table: RouteTable): Promise<void>
  stop(): Promise<number | null>
  kill(): Promise<void>
  workers(): Promise<number[]>
  exited: Promise<number | null>
}

export type RouterSettings = {
  routes?: RouteTable
  control?: { url: string; tokenFile: string }
  args?: string[]
  /** Kept from an earlier router, to start from its state. */
  dir?: string
  port?: number
  env?: NodeJS.ProcessEnv
  stdio?: (number | 'pipe')[]
  /** Root of another copy of the program. */
  root?: string
  /** Another copy of Node. */
  node?: string
  /** Cores to run on, as taskset takes them. */
  pin?: string
  /** How many descriptors each of its processes may have. */
  descriptors?: number
}

export async function startRouter(settings: RouterSettings): Promise<RouterProcess> {
  const dir = settings.dir ?? (await mkdtemp(join(tmpdir(), 'coppice-router-')))
  const args = ['--state-dir', join(dir, 'state'), '--admin', '127.0.0.1:0', '--name', 'test']
  if (!settings.args?.includes('--listen')) args.push('--listen', `127.0.0.1:${settings.port ?? 0}`)
  const routesFile = join(dir, 'routes.json')
  if (settings.routes !== undefined) {
    await writeFile(routesFile, JSON.stringify(settings.routes))
    args.push('--routes', routesFile)
  }
  if (settings.control !== undefined) {
    args.push('--control-plane', settings.control.url, '--token-file', settings.control.tokenFile)
  }
  const main = join(settings.root ?? ROOT, 'router', 'main.ts')
  const program = [settings.node ?? process.execPath, main, ...args, ...(settings.args ?? [])]
  const { descriptors } = settings
  const all = descriptors === undefined ? program : ['prlimit', `--nofile=${descriptors}:${descriptors}`, ...program]
  const [command, ...rest] = settings.pin === undefined ? all : ['taskset', '-c', settings.pin, ...all]
  const child = spawn(command as string, rest, {
    stdio: (settings.stdio ?? ['ignore', 'pipe', 'pipe']) as never,
    env: { ...process.env, ...settings.env },
  })
  const log: LogLine[] = []
  let stderr = ''
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  const ready = await new Promise<LogLine>((resolve, reject) => {
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on('line', (text) => {
      let line: LogLine
      try {
        line = JSON.parse(text)
      } catch {
        line = { msg: text }
      }
      log.push(line)
      if (line.event === 'listening') resolve(line)
    })
    void exited.then(async (code) => {
      if (log.some((line) => line.event === 'listening')) return
      await removeTree(dir)
      reject(new Error(`the router ended with ${code}: ${JSON.stringify(log)} ${stderr}`))
    })
  })
  const url = ready.address as string
  const admin = async (path: string, method = 'GET') => {
    const token = (await readFile(join(dir, 'state', 'admin-token'), 'utf8')).trim()
    const answer = await fetch(`${ready.admin}${path}`, { method, headers: { authorization: `Bearer ${token}` } })
    const text = await answer.text()
    return (answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text) as never
  }
  const status = () => admin('/status') as Promise<{ acknowledged: { version: number } }>
  return {
    child,
    url,
    port: Number(new URL(url).port),
    dir,
    log,
    admin,
    exited,
    setRoutes: async (table) => {
      const before = (await status()).acknowledged.version
      await writeFile(`${routesFile}.new`, JSON.stringify(table))
      await rename(`${routesFile}.new`, routesFile)
      await until(async () => (await status()).acknowledged.version > before)
    },
    workers: async () => {
      const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      return children.trim().split(' ').filter(Boolean).map(Number)
    },
    stop: async () => {
      child.kill('SIGTERM')
      const code = await exited
      await removeTree(dir)
      return code
    },
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** Waits for a condition; the message of the failure shows what it saw last. */
export async function until<T>(condition: () => Promise<T> | T, timeoutMs = 10_000): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value) return value
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${condition}; last ${String(value)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
