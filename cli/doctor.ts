/** What is wrong, seen from outside; what the control plane knows is asked of it. */
import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Context } from './context.ts'
import { ApiError, tellFailure } from './failure.ts'
import { ROOT, readRunState } from './settings.ts'

const run = promisify(execFile)

export type Check = { name: string; ok: boolean; message: string; hint?: string }

/** Of `npm start`, when nothing runs on the data directory that says otherwise. */
const DEFAULT_PORTS = { port: 8080, apiPort: 7400, temporalPort: 7233 }

/** The control plane waits for Temporal for some seconds itself; one that hangs never answers. */
const PATIENCE_MS = 15_000

export async function examine(context: Context): Promise<Check[]> {
  const server = await askPlatform(context)
  return [
    nodeVersion(),
    dataDirectory(context),
    ...(await starter(context, server.answers)),
    ...server.checks,
    // Whether ports are free matters only to a platform that is yet to start here.
    ...(server.answers ? [] : await freePorts(context)),
    ...(await tools(context.env)),
  ]
}

function nodeVersion(): Check {
  const version = process.versions.node
  return Number(version.split('.')[0]) >= 24
    ? { name: 'node', ok: true, message: version }
    : { name: 'node', ok: false, message: `${version} is too old`, hint: 'Set the project up: node scripts/setup.mjs.' }
}

function dataDirectory({ settings: { home } }: Context): Check {
  const name = 'data directory'
  if (!existsSync(home)) return { name, ok: true, message: `${home} is made by the first start` }
  try {
    accessSync(home, constants.R_OK | constants.W_OK | constants.X_OK)
    return { name, ok: true, message: home }
  } catch {
    return {
      name,
      ok: false,
      message: `${home} cannot be written`,
      hint: 'Give yourself the right, or name another one: --home.',
    }
  }
}

async function askPlatform(context: Context): Promise<{ answers: boolean; checks: Check[] }> {
  const { api, settings } = context
  try {
    const { checks } = await api.call<{ checks: Check[] }>(
      'GET',
      '/api/coppice/v1/doctor',
      undefined,
      AbortSignal.timeout(PATIENCE_MS),
    )
    return { answers: true, checks: [{ name: 'api', ok: true, message: settings.apiUrl }, ...checks] }
  } catch (error) {
    const { lines } = tellFailure(error)
    const state = readRunState(settings.home)
    const starter = state !== null && isRunning(state.starter.pid)
    const hint = starter
      ? `The platform was started (process ${state.starter.pid}) and does not answer: read ${join(settings.home, 'logs', 'control.log')}.`
      : 'Start it: coppice up.'
    return {
      answers: error instanceof ApiError,
      checks: [{ name: 'api', ok: false, message: lines[0] ?? '', hint: error instanceof ApiError ? lines[1] : hint }],
    }
  }
}

async function freePorts({ settings }: Context): Promise<Check[]> {
  const state = readRunState(settings.home)
  if (state !== null && isRunning(state.starter.pid)) return []
  const ports = { ...DEFAULT_PORTS, ...state?.options }
  const rows: Array<[label: string, port: number, flag: string]> = [
    ['apps', ports.port, '--port'],
    ['API', ports.apiPort, '--api-port'],
    ['Temporal', ports.temporalPort, '--temporal-port'],
  ]
  return Promise.all(
    rows.map(async ([label, port, flag]): Promise<Check> => {
      const name = `port ${port}`
      if (await canListen(port)) return { name, ok: true, message: `free, for ${label}` }
      return {
        name,
        ok: false,
        message: `taken by another program; ${label} cannot have it`,
        hint: `coppice up ${flag} ${port + 1}`,
      }
    }),
  )
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** What `scripts/find-starter.ts` says. */
type Starter = {
  pid: number
  phase: string
  alive: boolean
  stopped: boolean
  apiUrl: string
  /** What it starts again and again. */
  falling: Array<{ name: string; exits: number; how: string }>
} | null

/** Whether `npm start` still is there, which starts again what dies. Of another platform than the one asked nothing is said. */
async function starter({ env, settings: { home, apiUrl } }: Context, answers: boolean): Promise<Check[]> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'scripts', 'find-starter.ts'), home], { env })
  const found = JSON.parse(stdout) as Starter
  const name = 'supervisor'
  if (found === null || found.apiUrl !== apiUrl) return []
  if (found.alive && found.stopped)
    return [
      {
        name,
        ok: false,
        message: `nobody looks after the processes: npm start (process ${found.pid}) is stopped, by Ctrl-Z or another signal`,
        hint: `Let it go on: fg in its terminal, or kill -CONT ${found.pid}.`,
      },
    ]
  if (found.alive)
    return [
      { name, ok: true, message: `npm start, process ${found.pid}, ${found.phase}` },
      ...found.falling.map(({ name: process, exits, how }) => ({
        name: `${process} process`,
        ok: false,
        message: `it does not stay up: it ended by itself ${exits} times in the last ten minutes, lately it ${how}`,
        hint: `Read its last lines: ${join(home, 'logs', `${process}.log`)}.`,
      })),
    ]
  const what = answers ? 'what runs goes on, and what dies stays dead' : 'what it started may run on'
  const message = `nobody looks after the processes: npm start (process ${found.pid}) has ended without stopping them; ${what}`
  return [{ name, ok: false, message, hint: 'Start it again: coppice up. It adopts what runs.' }]
}

/** Of each what `scripts/find-tools.ts` says. */
type FoundTool =
  | { tool: string; path: string; version: string; from: 'variable' | 'path' | 'cache' }
  | { tool: string; missing: true }
  | { tool: string; trouble: string }

/** None of them is missing for good: each is fetched when it is first needed. One that was named has to be there. */
const TOOLS: Record<string, { label: string; neededBy: string }> = {
  temporal: { label: 'temporal CLI', neededBy: 'coppice up' },
  uv: { label: 'uv', neededBy: 'the first build of a Python app' },
}

/** Asked of the toolchain itself, so that both look in the same places. */
async function tools(env: NodeJS.ProcessEnv): Promise<Check[]> {
  const names = Object.keys(TOOLS)
  const { stdout } = await run(process.execPath, [join(ROOT, 'scripts', 'find-tools.ts'), ...names], { env })
  return (JSON.parse(stdout) as FoundTool[]).map((found): Check => {
    const { label: name, neededBy } = TOOLS[found.tool] ?? { label: found.tool, neededBy: 'what needs it' }
    if ('trouble' in found) return { name, ok: false, message: found.trouble }
    if ('missing' in found) return { name, ok: true, message: `not installed; fetched by ${neededBy}` }
    const where = { variable: ', named by its variable', path: '', cache: ', fetched by Coppice' }[found.from]
    return { name, ok: true, message: `${found.version} at ${found.path}${where}` }
  })
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
