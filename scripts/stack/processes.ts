import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { reserveReadyFile } from '../../logging/ready-file.ts'
import { orAborted } from '../interruption.ts'
import { homePaths, ROOT, STACK_ROWS, type StackOptions } from '../stack-options.ts'
import {
  drawTemporalPorts,
  refuseToLeaveOpenOperations,
  temporalAnswers,
  temporalCommand,
  waitForTemporal,
} from '../temporal-server.ts'
import { withoutProxyForLoopback } from '../toolchain/proxy.ts'
import { resolveTool } from '../toolchain/resolve.ts'
import type { OnProgress } from '../toolchain/tools.ts'
import { touchedLately, until, untilHttp, untilReadyFile } from './ready.ts'
import type { ProcessName } from './state-file.ts'
import type { SupervisedSpec } from './supervised.ts'

export type StackSpec = SupervisedSpec & {
  name: ProcessName
  /** For people. */
  label: string
  /** Ports it takes, with the row that changes them. */
  listens: { port: number; row: { flag: string; variable: string; help: string } }[]
}

/** Other main files than the real ones, for tests of the supervision itself. */
export type Programs = { [name in Exclude<ProcessName, 'temporal'>]?: string }

export type DescribeRequest = {
  /** More for the environment of the processes. */
  env: NodeJS.ProcessEnv
  programs: Programs
  onProgress: OnProgress
  signal?: AbortSignal
}

const READY_TIMEOUT_MS = 30_000
/** SIGTERM, 15 s, SIGKILL for instances (R3.6), all at once, and something for a loaded machine. */
const WORKER_GRACE_MS = 40_000
/** The router lets requests in flight finish. */
const ROUTER_GRACE_MS = 35_000
const GRACE_MS = 10_000
/**
 * Keeps the memory of processes that live long level (F2.6). By itself V8 lets a heap of these sizes grow to several
 * times what it holds before it collects, its young generation to 192 MB (here 48), and glibc keeps up to 8 arenas a
 * core for the threads of Temporal's core.
 */
const LEVEL_MEMORY = {
  flags: ['--heap-growing-percent=30', '--max-semi-space-size=16'],
  env: { MALLOC_ARENA_MAX: '2' },
}
/** Worker and router touch their ready files every 5 s. */
const TOUCHED_MS = 15_000

/** What a stack consists of: commands, environments, readiness. */
export async function describeProcesses(options: StackOptions, request: DescribeRequest): Promise<StackSpec[]> {
  const paths = homePaths(options.home)
  mkdirSync(join(options.home, 'run'), { recursive: true })
  for (const name of ['router', 'worker'] as const) reserveReadyFile(paths.ready(name))
  const temporalAddress = options.temporalAddress ?? `127.0.0.1:${options.temporalPort}`
  const apiUrl = `http://127.0.0.1:${options.apiPort}`
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...withoutProxyForLoopback(process.env),
    COPPICE_HOME: options.home,
    // The demo workspace has the preview on; an admin can turn it off (R2.1).
    COPPICE_HORIZONTAL_SCALING: process.env.COPPICE_HORIZONTAL_SCALING ?? 'on',
    COPPICE_TEMPORAL_ADDRESS: temporalAddress,
    COPPICE_TOKEN_FILE: paths.token,
    COPPICE_API_LISTEN: `127.0.0.1:${options.apiPort}`,
    COPPICE_API_URL: apiUrl,
    COPPICE_URL_TEMPLATE: process.env.COPPICE_URL_TEMPLATE ?? `http://{app}.localhost:${options.port}`,
    ...(options.instancePorts && { COPPICE_INSTANCE_PORTS: options.instancePorts }),
    ...(options.appPorts && { COPPICE_APP_PORTS: options.appPorts }),
    COPPICE_ROUTER_LISTEN: process.env.COPPICE_ROUTER_LISTEN ?? `127.0.0.1:${options.port}`,
    COPPICE_ROUTER_CONTROL_PLANE: apiUrl,
    // Of a data directory there is one, whatever the machine is called today: by its name it is known to be back.
    COPPICE_ROUTER_NAME: process.env.COPPICE_ROUTER_NAME ?? 'router',
    COPPICE_ROUTER_TOKEN_FILE: paths.token,
    COPPICE_ROUTER_STATE_DIR: paths.router,
    ...request.env,
  }
  const program = (name: Exclude<ProcessName, 'temporal'>) => ({
    name,
    command: [
      process.execPath,
      // The router collects by rules of its own (router/bulk.ts).
      ...(name === 'router' ? [] : LEVEL_MEMORY.flags),
      request.programs[name] ?? join(ROOT, name, 'main.ts'),
    ],
    env: { ...env, ...(name === 'worker' && LEVEL_MEMORY.env), COPPICE_READY_FILE: paths.ready(name) },
    cwd: ROOT,
    logFile: paths.log(name),
    stopSignal: 'SIGTERM' as const,
    stopGraceMs: GRACE_MS,
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: true,
  })
  const specs: StackSpec[] = [
    {
      ...program('control'),
      label: 'control plane',
      ready: (signal) => untilHttp(`${apiUrl}/healthz`, (status) => status === 200, signal),
      answers: async (signal) => (await fetch(`${apiUrl}/healthz`, { signal })).status === 200,
      listens: [{ port: options.apiPort, row: STACK_ROWS.apiPort }],
    },
    {
      ...program('router'),
      label: 'router',
      stopGraceMs: ROUTER_GRACE_MS,
      ready: (signal) => until(() => accepts(options.port), signal),
      answers: async (_signal, pid) => touchedLately(paths.ready('router'), pid, TOUCHED_MS),
      listens: [{ port: options.port, row: STACK_ROWS.port }],
    },
    {
      ...program('worker'),
      label: 'worker',
      stopGraceMs: WORKER_GRACE_MS,
      ready: (signal, pid) => untilReadyFile(paths.ready('worker'), pid, signal),
      answers: async (_signal, pid) => touchedLately(paths.ready('worker'), pid, TOUCHED_MS),
      listens: [],
    },
  ]
  if (options.temporalAddress !== null) return specs
  return [await embeddedTemporal(options, env, request), ...specs]
}

async function embeddedTemporal(
  options: StackOptions,
  env: NodeJS.ProcessEnv,
  { onProgress, signal }: DescribeRequest,
): Promise<StackSpec> {
  const { home, temporalPort: port, temporalUi: ui } = options
  const folder = homePaths(home).temporal
  const tool = await orAborted(resolveTool('temporal', { onProgress }), signal)
  refuseToLeaveOpenOperations(folder, tool.version)
  return {
    name: 'temporal',
    label: 'Temporal server',
    command: temporalCommand({ cli: tool.path, version: tool.version, folder, port, ui }),
    draw: () => drawTemporalPorts(ui),
    env,
    cwd: folder,
    logFile: homePaths(home).log('temporal'),
    stopSignal: 'SIGTERM',
    stopGraceMs: GRACE_MS,
    ready: (signal) => waitForTemporal(`127.0.0.1:${port}`, signal),
    answers: () => temporalAnswers(`127.0.0.1:${port}`),
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: true,
    listens: [
      { port, row: STACK_ROWS.temporalPort },
      ...(ui ? [{ port: options.uiPort, row: STACK_ROWS.uiPort }] : []),
    ],
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    const answer = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })
}
