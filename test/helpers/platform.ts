/** A stack with a source root of its own, and the questions that tests of sagas ask it. */

import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { HistoryEvent } from '../../domain/records.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import type { StartStackOptions } from '../../scripts/stack/stack.ts'
import type { ProcessName } from '../../scripts/stack/state-file.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { type AppSource, writeApp } from './app-source.ts'
import { ask } from './load.ts'
import { startTestStack, type TestStack } from './stack.ts'

export type Operation = {
  id: string
  type: string
  state: string
  phase: string
  failure?: { code: string; message: string; step?: string; log_lines?: string[]; undo_failures?: string[] }
  steps?: Array<{ step: string; words: string; state: string; start_time: string; end_time?: string; detail?: string }>
}

/** What should be there and nothing else: compared before and after whatever a test does (R10.2). */
export type Footprint = { processes: string[]; directories: string[]; instances: string[]; endpoints: string[] }

export class Platform {
  readonly stack: TestStack
  readonly sources: string
  readonly #faults: string
  readonly #folder: string
  readonly #down = new Set<ProcessName>()

  private constructor(stack: TestStack, folder: string) {
    this.stack = stack
    this.#folder = folder
    this.sources = join(folder, 'sources')
    this.#faults = join(folder, 'faults')
  }

  static async start(options: Partial<StartStackOptions> = {}): Promise<Platform> {
    const folder = await mkdtemp(join(tmpdir(), 'coppice-platform-'))
    for (const name of ['sources', 'faults']) await mkdir(join(folder, name))
    const stack = await startTestStack({
      ...options,
      env: {
        COPPICE_SOURCE_ROOTS: join(folder, 'sources'),
        COPPICE_FAULTS: join(folder, 'faults'),
        COPPICE_STOP_GRACE_MS: '2000',
        // Limits are proved elsewhere; here many apps share a stack.
        COPPICE_MAX_SCALED_APPS: '100',
        ...options.env,
      },
    })
    return new Platform(stack, folder)
  }

  async stop(): Promise<void> {
    await this.stack.stop()
    await removeTree(this.#folder)
  }

  write(name: string, source: AppSource = {}): Promise<string> {
    return writeApp(this.sources, name, source)
  }

  /** Starts a deployment through the API, and makes the app first where it is not there. */
  async beginDeploy(
    app: string,
    options: { source?: string; instances?: number; body?: object } = {},
  ): Promise<string> {
    if ((await this.stack.api('GET', `/api/2.0/apps/${app}`)).status === 404) {
      const count = options.instances ?? 2
      const created = await this.stack.api('POST', '/api/2.0/apps', {
        name: app,
        compute_min_instances: count,
        compute_max_instances: count,
      })
      if (created.status !== 200) throw new Error(JSON.stringify(created.body))
    }
    const answer = await this.stack.api('POST', `/api/2.0/apps/${app}/deployments`, {
      source_code_path: options.source ?? app,
      ...options.body,
    })
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.body))
    return answer.body.operation as string
  }

  async deploy(app: string, options: Parameters<Platform['beginDeploy']>[1] = {}): Promise<Operation> {
    return this.ended(await this.beginDeploy(app, options))
  }

  async operation(id: string): Promise<Operation> {
    const { body } = await this.stack.api('GET', `/api/coppice/v1/operations/${id}`)
    return body as Operation
  }

  /** The operation once it has ended, however. */
  /** @param timeoutMs for what never comes, and no measure of speed: builds install packages */
  async ended(id: string, timeoutMs = 110_000): Promise<Operation> {
    return until(`operation ${id} to end`, timeoutMs, async () => {
      const operation = await this.operation(id).catch(() => null)
      return operation !== null && ['SUCCEEDED', 'FAILED', 'CANCELLED'].includes(operation.state) ? operation : null
    })
  }

  async lastOperation(app: string): Promise<Operation> {
    const { body } = await this.stack.api('GET', `/api/coppice/v1/operations?app=${app}`)
    return this.operation(body.operations[0].id)
  }

  /** The first event of the app's history, from its beginning on, of which this holds. */
  async event(app: string, holds: (event: HistoryEvent) => boolean, timeoutMs = 30_000): Promise<HistoryEvent> {
    const answer = await fetch(`${this.stack.apiUrl}/api/coppice/v1/events?app=${app}&after=0`, {
      headers: { authorization: `Bearer ${this.stack.token}` },
      signal: AbortSignal.timeout(timeoutMs),
    })
    let text = ''
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      const lines = text.split('\n')
      text = lines.pop() as string
      for (const line of lines) {
        if (!line.startsWith('data:')) continue
        const event = JSON.parse(line.slice(5)) as HistoryEvent
        if (holds(event)) return event
      }
    }
    throw new Error(`the stream of events of ${app} ended`)
  }

  /** One answer of the app, through the router. */
  ask(app: string, options: { key?: string; path?: string } = {}) {
    return ask(`${this.stack.routerUrl}${options.path ?? '/'}`, { host: `${app}.localhost`, key: options.key ?? null })
  }

  async version(app: string): Promise<string | undefined> {
    return (await this.ask(app)).body.version
  }

  /** Holds the worker at a point of a saga; see worker/faults.ts. */
  async hold(point: string): Promise<Hold> {
    const file = join(this.#faults, point.replaceAll('/', '_'))
    await writeFile(file, '')
    return {
      reached: () =>
        until(`the worker to reach ${point}`, 60_000, async () => (existsSync(`${file}.held`) ? true : null)),
      release: async () => {
        await rm(file, { force: true })
        await rm(`${file}.held`, { force: true })
      },
    }
  }

  /** Everything of instances that there is on this machine and in the inventory. */
  async footprint(): Promise<Footprint> {
    const { body } = await this.stack.api('GET', '/api/2.0/apps')
    const instances: string[] = []
    const endpoints: string[] = []
    for (const app of (body.apps ?? []) as Array<{ name: string }>) {
      const answer = await this.stack.api('GET', `/api/coppice/v1/apps/${app.name}/instances`)
      for (const instance of answer.body.instances) {
        instances.push(instance.id)
        if (instance.role !== 'standby') endpoints.push(`${instance.id} ${instance.role}`)
      }
    }
    const home = join(this.stack.home, 'instances')
    return {
      processes: [...new Set(processesOf(home).map(({ instance }) => instance))].sort(),
      directories: (await readdir(home)).filter((name) => !name.startsWith('.')).sort(),
      instances: instances.sort(),
      endpoints: endpoints.sort(),
    }
  }

  processes(): Array<{ pid: number; instance: string }> {
    return processesOf(join(this.stack.home, 'instances'))
  }

  /** Waits until processes, directories, records and routes are exactly the serving instances of these apps. */
  async settled(expected: Record<string, number>, timeoutMs = 30_000): Promise<Footprint> {
    let last: Footprint | null = null
    try {
      return await until('nothing to be left over', timeoutMs, async () => {
        const now = await this.footprint()
        last = now
        const count = Object.values(expected).reduce((sum, n) => sum + n, 0)
        const whole = [now.processes, now.directories, now.instances].every(
          (list) => JSON.stringify(list) === JSON.stringify(now.instances),
        )
        const serving = now.endpoints.every((endpoint) => endpoint.endsWith(' serving'))
        return whole && serving && now.instances.length === count && now.endpoints.length === count ? now : null
      })
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last, null, 1)}`, { cause: error })
    }
  }

  /** SIGKILL, and it stays down until `raise`. */
  async fell(name: ProcessName): Promise<void> {
    this.#down.add(name)
    await this.stack.fell(name)
  }

  async raise(name: ProcessName): Promise<void> {
    await this.stack.raise(name)
    this.#down.delete(name)
  }

  /** After a test that failed in between. */
  async raiseAll(): Promise<void> {
    for (const name of [...this.#down]) await this.raise(name)
  }

  /** Temporal's database is gone, as after a lost disk; the server starts on an empty one. */
  async loseTemporal(): Promise<void> {
    await this.fell('temporal')
    const folder = join(this.stack.home, 'temporal')
    for (const name of await readdir(folder)) if (name.includes('.db')) await rm(join(folder, name))
    await this.raise('temporal')
  }

  /** The real `temporal` program against the stack's server. */
  async temporal(...args: string[]): Promise<{ code: number; out: string }> {
    const { path } = await resolveTool('temporal')
    return promisify(execFile)(path, args, {
      env: { ...process.env, TEMPORAL_ADDRESS: this.stack.temporalAddress },
      timeout: 60_000,
    }).then(
      ({ stdout, stderr }) => ({ code: 0, out: stdout + stderr }),
      (error: { code?: number; stdout?: string; stderr?: string }) => ({
        code: error.code ?? -1,
        out: `${error.stdout ?? ''}${error.stderr ?? ''}`,
      }),
    )
  }
}

export type Hold = { reached: () => Promise<unknown>; release: () => Promise<void> }

/** Asks until the answer is not null; the deadline is for what never comes, not a measure of speed. */
export async function until<T>(what: string, timeoutMs: number, look: () => Promise<T | null>): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`)
    await sleep(25)
  }
}

/** Processes whose environment says that they belong to an instance of this data directory (Linux). */
function processesOf(home: string): Array<{ pid: number; instance: string }> {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0')
      const own = environment.find((entry) => entry.startsWith('HOME='))?.startsWith(`HOME=${home}/`)
      const id = environment.find((entry) => entry.startsWith('COPPICE_INSTANCE_ID='))
      return own && id !== undefined ? [{ pid: Number(name), instance: id.slice('COPPICE_INSTANCE_ID='.length) }] : []
    } catch {
      return []
    }
  })
}
