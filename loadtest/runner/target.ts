/** The app under test: one that we deploy on a stack of our own, or one that is there already. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ApiRefused } from '../../scripts/stack/client.ts'
import { leaveHome, runsNothing } from '../../scripts/stack/own-home.ts'
import { freePorts } from '../../scripts/stack/ports.ts'
import { type Stack, startStack } from '../../scripts/stack/stack.ts'
import { homePaths, ROOT } from '../../scripts/stack-options.ts'
import type { Execution, Passage } from '../check/delivery.ts'
import type { Footprint } from '../check/leaks.ts'
import { type OperationAnswer, type PlatformApi, platformApi } from './api.ts'
import { footprintOf } from './footprint.ts'
import { LogTail } from './log-tail.ts'

export type Target = {
  api: PlatformApi
  app: string
  /** Whether we deployed it; else it is somebody's. */
  own: boolean
  /** Of the app, one a router. */
  urls: string[]
  /** Host header, where the URLs are addresses of routers. */
  host: string | null
  /** What k6 is told of the app. */
  k6Env: Record<string, string>
  /** With this in a request the routers say which instance answers; null where the app says it itself, or nobody can. */
  namingKey: string | null
  /** The body of a deployment of this version; null where the app cannot be deployed again. */
  deployment(version: string): Promise<Record<string, unknown> | null>
  /** What the app has written down since the run began; null where it writes nothing. */
  executions(): Promise<Execution[] | null>
  /** Likewise the routers. */
  passages(): Promise<Passage[] | null>
  /** What the whole stack takes now; null where that cannot be told. */
  footprint(): Promise<Footprint | null>
  /** Takes the app away again where it was ours; another one gets back the number of instances that it had. */
  leave(): Promise<void>
}

const SECOND_ROUTER = 'loadtest-second'
const READY_TIMEOUT_MS = 30_000

/** A stack on free ports with two routers, both of which write down every request. */
export class OwnStack {
  readonly #stack: Stack
  readonly #folder: string
  readonly #second: { process: ChildProcess; url: string; log: string }
  readonly #api: PlatformApi
  #apps = 0

  private constructor(stack: Stack, folder: string, second: { process: ChildProcess; url: string; log: string }) {
    this.#stack = stack
    this.#folder = folder
    this.#second = second
    this.#api = platformApi(stack)
  }

  get home(): string {
    return this.#stack.home
  }

  get stack(): Stack {
    return this.#stack
  }

  /** Rejects with the reason of `signal` where that is why there is no stack; nothing is left of it then. */
  static async start(
    onProgress: (words: string) => void,
    signal?: AbortSignal,
    begin: typeof startStack = startStack,
  ): Promise<OwnStack> {
    const folder = await mkdtemp(join(tmpdir(), 'coppice-loadtest-'))
    let stack: Stack | null = null
    try {
      await mkdir(join(folder, 'journal'))
      stack = await begin({
        home: homeIn(folder),
        ports: 'free',
        onProgress,
        signal,
        env: {
          COPPICE_SOURCE_ROOTS: join(ROOT, 'loadtest'),
          COPPICE_ROUTER_ACCESS_LOG: 'on',
          // Longer than any handler, shorter than sockets are held: those have to be closed and opened again.
          COPPICE_DRAIN_TIMEOUT_MS: '2000',
        },
      })
      return new OwnStack(stack, folder, await startSecondRouter(stack, folder, signal))
    } catch (error) {
      const left = await end(stack, folder)
      if (left !== null) throw new Error(`${(error as Error).message}. ${left}`, { cause: error })
      signal?.throwIfAborted()
      throw error
    }
  }

  /** Deploys the app of the load tests under a new name. */
  async deploy(
    scenario: string,
    instances: number | 'standard',
    onProgress: (words: string) => void,
    signal?: AbortSignal,
  ): Promise<Target> {
    this.#apps += 1
    const app = `${scenario}-${this.#apps}`
    const api = this.#api
    const count = instances === 'standard' ? {} : { compute_min_instances: instances, compute_max_instances: instances }
    await api.call('POST', '/api/2.0/apps', { name: app, ...count })
    const journal = join(this.#folder, 'journal', app)
    await mkdir(journal)
    const deployment = async (version: string) => ({
      source_code_path: 'app',
      env_vars: [
        { name: 'APP_VERSION', value: version },
        { name: 'LOADTEST_JOURNAL', value: journal },
      ],
    })
    onProgress(`Deploying ${app} on ${instances === 'standard' ? 1 : instances} instances`)
    const id = await api.start('POST', `/api/2.0/apps/${app}/deployments`, await deployment('1'))
    const ended = await untilEnded(api, id as string, signal)
    if (ended.state !== 'SUCCEEDED')
      throw new Error(`the deployment of ${app} ended as ${ended.state}: ${ended.failure?.message}`)
    const tails = [new LogTail(homePaths(this.#stack.home).log('router')), new LogTail(this.#second.log)]
    for (const tail of tails) await tail.skip()
    return {
      api,
      app,
      own: true,
      urls: [this.#stack.routerUrl, this.#second.url],
      host: `${app}.localhost`,
      k6Env: {
        APP_PATH: '/?slow={slow}&attempt={attempt}',
        WS_PATH: '/socket?attempt={attempt}',
        SSE_PATH: '/events?count=3&attempt={attempt}',
        UPLOAD_BYTES: '200000',
        METHODS: 'GET,GET,GET,GET,PUT,DELETE,POST,POST',
        SLOW_SHARE: '0.3',
        SLOW_MS: '200-400',
      },
      // Its own word is evidence that does not come from the routers, which are under test.
      namingKey: null,
      deployment,
      executions: () => readJournal(journal),
      passages: async () => (await Promise.all(tails.map((tail) => tail.all()))).flat().flatMap(passageOf),
      footprint: () => {
        const roots = { ...this.#stack.pids, 'second router': this.#second.process.pid as number }
        return footprintOf(roots as Record<string, number>, join(this.#stack.home, 'instances'))
      },
      leave: async () => {
        for (const tail of tails) tail.stop()
        await untilEnded(api, (await api.start('DELETE', `/api/2.0/apps/${app}`)) as string)
      },
    }
  }

  async stop(): Promise<void> {
    const { process } = this.#second
    if (process.exitCode === null && process.signalCode === null) {
      const exited = once(process, 'exit')
      process.kill('SIGTERM')
      const late = setTimeout(() => process.kill('SIGKILL'), 5_000)
      await exited
      clearTimeout(late)
    }
    const left = await end(this.#stack, this.#folder)
    if (left !== null) throw new Error(left)
  }
}

const homeIn = (folder: string): string => join(folder, 'home')

/** @returns why the folder had to stay, in words; null where all has ended, and it is gone */
async function end(stack: Stack | null, folder: string): Promise<string | null> {
  const home = homeIn(folder)
  const failure = await (stack?.stop() ?? Promise.resolve()).then(
    () => null,
    (error: Error) => error,
  )
  if (failure !== null || !runsNothing(home)) {
    const words = await leaveHome(home, { stopped: false, wantsLogs: true })
    return failure === null ? words.trimEnd() : `${failure.message}\n${words.trimEnd()}`
  }
  await removeTree(folder)
  return null
}

async function startSecondRouter(
  stack: Stack,
  folder: string,
  signal?: AbortSignal,
): Promise<{ process: ChildProcess; url: string; log: string }> {
  const [port] = (await freePorts(1)) as [number]
  const log = join(folder, 'second-router.log')
  const out = openSync(log, 'a')
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('COPPICE_ROUTER_'))
  const env = {
    ...Object.fromEntries(inherited),
    // By these `down` finds it when nobody is left to stop it.
    COPPICE_HOME: stack.home,
    COPPICE_ROUTER_STATE_DIR: homePaths(stack.home).router,
  }
  const flags = {
    listen: `127.0.0.1:${port}`,
    'control-plane': stack.apiUrl,
    'token-file': homePaths(stack.home).token,
    'state-dir': join(folder, 'second-router'),
    name: SECOND_ROUTER,
    processes: '1',
    'access-log': 'on',
  }
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
  // A group of its own: Ctrl-C in a terminal must not end it before the load.
  const child = spawn(process.execPath, [join(ROOT, 'router', 'main.ts'), ...args], {
    env,
    stdio: ['ignore', out, out],
    detached: true,
  })
  closeSync(out)
  await once(child, 'spawn')
  try {
    const api = platformApi(stack)
    for (const end = performance.now() + READY_TIMEOUT_MS; ; await sleep(50, undefined, { signal })) {
      if ((await api.routers()).some(({ name, counted }) => name === SECOND_ROUTER && counted)) break
      if (child.exitCode !== null || performance.now() > end)
        throw new Error(`the second router does not start:\n${(await readFile(log, 'utf8')).slice(-2_000)}`)
    }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return { process: child, url: `http://127.0.0.1:${port}`, log }
}

/**
 * An app that is deployed already: nothing is known of its inside, and it is asked with GET only.
 *
 * @param signal ends the wait for what is under way at the app; of what is done to it later, nothing
 */
export async function attachTo(
  at: { app: string; apiUrl: string; token: string },
  say: (words: string) => void,
  signal?: AbortSignal,
): Promise<Target> {
  const api = platformApi(at)
  // Of what is under way now, the number that it leads to is the app's own.
  const before = await instancesOf(api, at.app, say, signal)
  const { urls } = await api.app(at.app)
  if (!(await api.instances(at.app)).some(({ role }) => role === 'serving')) {
    throw new Error(`${at.app} does not run; start it with: coppice apps start ${at.app}`)
  }
  // Names below localhost resolve in browsers, and in few other programs.
  const url = urls.find((one) => !new URL(one).hostname.endsWith('.localhost')) ?? (urls[0] as string)
  return {
    api,
    app: at.app,
    own: false,
    urls: [url],
    host: null,
    k6Env: {},
    namingKey: await namingKeyOf(api, at.app),
    deployment: async () => {
      const { active_deployment: active } = await api.app(at.app)
      if (active === undefined) throw new Error(`${at.app} has not been deployed yet`)
      // Nobody can read environment values back (R3.7).
      if ((active.env_vars ?? []).length > 0) return null
      return {
        ...(active.source_digest === undefined
          ? { source_code_path: active.source_code_path }
          : { source_digest: active.source_digest }),
        // Without it the one in app.yaml would count.
        ...(active.command !== undefined && { command: active.command }),
      }
    },
    executions: async () => null,
    passages: async () => null,
    footprint: async () => null,
    leave: () => restoreInstances(api, at.app, before, say),
  }
}

/** @returns null where the platform is of a version that has none */
async function namingKeyOf(api: PlatformApi, app: string): Promise<string | null> {
  try {
    return await api.namingKey(app)
  } catch (error) {
    // The app is there.
    if (error instanceof ApiRefused && error.status === 404) return null
    throw error
  }
}

/**
 * Whatever is under way comes first: it may have been begun by us, change the number at its end, and lets no other
 * operation begin before that.
 *
 * @param wanted null for a standard app
 * @throws Error that says how many instances it has now
 */
async function restoreInstances(
  api: PlatformApi,
  app: string,
  wanted: number | null,
  say: (words: string) => void,
): Promise<void> {
  let now: number | null | undefined
  try {
    for (const end = performance.now() + OPERATION_TIMEOUT_MS; ; ) {
      now = await instancesOf(api, app, say)
      if (now === wanted) return
      if (performance.now() > end)
        throw new Error(`other operations did not let it for ${OPERATION_TIMEOUT_MS / 1000} s`)
      // A standard app is converted with 1 first (R5.0).
      const next = now === null && wanted !== null ? 1 : wanted
      say(`giving ${app} its number of instances back`)
      const id = await startUnlessBusy(api, app, next)
      const ended = id === null ? null : await untilEnded(api, id)
      if (ended !== null && ended.state !== 'SUCCEEDED') {
        throw new Error(`${ended.type} ended as ${ended.state}: ${ended.failure?.message ?? 'it does not say why'}`)
      }
    }
  } catch (error) {
    const has = now === undefined ? 'may have another number of instances' : `has ${instancesInWords(now)}`
    const command = wanted === null ? `convert ${app} --to standard` : `resize ${app} --instances ${wanted}`
    throw new Error(
      `${app} ${has} and had ${instancesInWords(wanted)} before the run: ${(error as Error).message}. Give them back with: coppice apps ${command}`,
      { cause: error },
    )
  }
}

const instancesInWords = (count: number | null): string =>
  count === null ? 'one, as a standard app,' : count === 1 ? '1 instance' : `${count} instances`

/** How many it has once nothing is under way; null for a standard app. */
async function instancesOf(
  api: PlatformApi,
  app: string,
  say: (words: string) => void,
  signal?: AbortSignal,
): Promise<number | null> {
  for (;;) {
    const { operation, compute_min_instances: count = null } = await api.app(app)
    if (operation === undefined) return count
    say(`waiting for the operation ${operation} of ${app}, which is under way`)
    await untilEnded(api, operation, signal)
  }
}

/** @returns the operation; null where another one came first, or there was nothing to do */
async function startUnlessBusy(api: PlatformApi, app: string, count: number | null): Promise<string | null> {
  const body = count === null ? {} : { compute_min_instances: count, compute_max_instances: count }
  try {
    return await api.start('POST', `/api/2.0/apps/${app}/update`, { update_mask: INSTANCES_MASK, app: body })
  } catch (error) {
    if (!(error instanceof ApiRefused && error.status === 409)) throw error
    await sleep(BUSY_PAUSE_MS)
    return null
  }
}

/** Before it is asked again what is under way. */
const BUSY_PAUSE_MS = 500

export const INSTANCES_MASK = 'compute_min_instances,compute_max_instances'

const OPERATION_TIMEOUT_MS = 120_000

export async function untilEnded(api: PlatformApi, operation: string, signal?: AbortSignal): Promise<OperationAnswer> {
  for (const end = performance.now() + OPERATION_TIMEOUT_MS; ; await sleep(100, undefined, { signal })) {
    const now = await api.operation(operation)
    if (['SUCCEEDED', 'FAILED', 'CANCELLED'].includes(now.state)) return now
    if (performance.now() > end)
      throw new Error(`${now.type} ${operation} has not ended after ${OPERATION_TIMEOUT_MS / 1000} s`)
  }
}

async function readJournal(folder: string): Promise<Execution[]> {
  const executions: Execution[] = []
  for (const instance of await readdir(folder)) {
    for (const line of (await readFile(join(folder, instance), 'utf8')).split('\n')) {
      const [id, , at, cookie] = line.split(' ')
      if (id !== undefined && at !== undefined)
        executions.push({ id, instance, at: Number(at), withCookie: cookie === 'cookie' })
    }
  }
  return executions
}

function passageOf(line: string): Passage[] {
  if (!line.includes('"event":"request"')) return []
  try {
    const { path, instance, status, attempts, clientGone } = JSON.parse(line)
    const id = new URL(path, 'http://app').searchParams.get('attempt')
    return id === null ? [] : [{ id, instance, status, attempts, clientGone }]
  } catch {
    return []
  }
}
