/** A stack of its own for a bench, with a folder that apps are deployed from, and what benches ask it. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { cp, mkdtemp } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import { TASK_QUEUE } from '../../../domain/product.ts'
import { removeTree } from '../../../runtime/artifacts/trees.ts'
import { callApi } from '../../stack/client.ts'
import { freePorts } from '../../stack/ports.ts'
import type { Programs } from '../../stack/processes.ts'
import { type Stack, startStack } from '../../stack/stack.ts'
import { freeStackOptions, ROOT } from '../../stack-options.ts'

export type BenchStep = { step: string; words: string; state: string; detail: string; from: number; to: number }

export type BenchOperation = {
  id: string
  state: string
  requestedAt: number
  endedAt: number
  /** In the order in which they began; times in Unix ms. */
  steps: BenchStep[]
  failure?: { message: string }
}

type OperationAnswer = {
  id: string
  state: string
  request_time: string
  end_time?: string
  failure?: { message: string }
  steps: Array<{
    step: string
    words: string
    state: string
    detail: string
    start_time: string
    end_time?: string
  }>
}

const POLL_MS = 5
const DEADLINE_MS = 180_000

export class Workbench {
  readonly stack: Stack
  readonly folder: string

  private constructor(stack: Stack, folder: string) {
    this.stack = stack
    this.folder = folder
  }

  /** `ports`: more than the few of a stack with some apps; `programs`: another worker than the real one. */
  static async start(options: { ports?: { appPorts: string }; programs?: Programs } = {}): Promise<Workbench> {
    const folder = await mkdtemp(join(tmpdir(), 'coppice-bench-'))
    try {
      const home = join(folder, 'home')
      const stack = await startStack({
        home,
        ports: { ...(await freeStackOptions(home)), ...options.ports },
        env: { COPPICE_SOURCE_ROOTS: folder },
        ...(options.programs !== undefined && { programs: options.programs }),
      })
      return new Workbench(stack, folder)
    } catch (error) {
      await removeTree(folder)
      throw error
    }
  }

  async stop(): Promise<void> {
    await this.stack.stop()
    await removeTree(this.folder)
  }

  /** A copy of `examples/<name>` that the bench may change. Returns its folder. */
  async copyExample(name: string): Promise<string> {
    const folder = join(this.folder, name)
    await cp(join(ROOT, 'examples', name), folder, { recursive: true })
    return folder
  }

  api<T>(method: string, path: string, body?: unknown): Promise<T> {
    return callApi<T>(this.stack, method, path, body)
  }

  /** Without a number of instances: a standard app. */
  createApp(name: string, instances?: number): Promise<unknown> {
    const count = { compute_min_instances: instances, compute_max_instances: instances }
    return this.api('POST', '/api/2.0/apps', { name, ...(instances !== undefined && count) })
  }

  beginDeploy(app: string, source = app): Promise<{ deployment_id: string; operation: string }> {
    return this.api('POST', `/api/2.0/apps/${app}/deployments`, { source_code_path: source })
  }

  /** The operation once it has succeeded; throws with its failure else. */
  async ended(id: string, pollMs = 20): Promise<BenchOperation> {
    for (const end = performance.now() + DEADLINE_MS; performance.now() < end; await sleep(pollMs)) {
      const answer = await this.api<OperationAnswer>('GET', `/api/coppice/v1/operations/${id}`)
      if (answer.state === 'FAILED' || answer.state === 'CANCELLED')
        throw new Error(`operation ${id}: ${answer.state}, ${answer.failure?.message}`)
      if (answer.state === 'SUCCEEDED') return operationOf(answer)
    }
    throw new Error(`operation ${id} has not ended after ${DEADLINE_MS / 1000} s`)
  }

  /** Starts the workflow type as the `temporal` CLI does, waits for it, and returns its operation. */
  async runByHand(type: string, input: { app: string; [field: string]: unknown }): Promise<BenchOperation> {
    const connection = await Connection.connect({ address: this.stack.temporalAddress })
    try {
      await new Client({ connection }).workflow.execute(type, {
        workflowId: `bench-${type}-${randomUUID()}`,
        taskQueue: TASK_QUEUE,
        args: [input],
      })
    } finally {
      await connection.close()
    }
    const { operations } = await this.api<{ operations: Array<{ id: string }> }>(
      'GET',
      `/api/coppice/v1/operations?app=${input.app}`,
    )
    return this.ended((operations[0] as { id: string }).id)
  }

  /** Waits until an answer to each of these routing keys satisfies `holds`; says when the last of them did. */
  async untilAnswers(app: string, keys: readonly string[], holds: (body: AppAnswer) => boolean): Promise<number> {
    for (const end = performance.now() + DEADLINE_MS; performance.now() < end; await sleep(POLL_MS)) {
      const answers = await Promise.all(keys.map((key) => this.ask(app, key)))
      if (answers.every((answer) => answer !== null && holds(answer))) return performance.now()
    }
    throw new Error(`${app} did not answer as it should within ${DEADLINE_MS / 1000} s`)
  }

  /** One routing key for each of the slots 0…n-1, found by asking. */
  async keysBySlot(app: string, slots: number): Promise<string[]> {
    const keys = new Map<number, string>()
    for (let i = 0; keys.size < slots && i < 1000; i++) {
      const answer = await this.ask(app, `bench-${i}`)
      if (answer !== null && !keys.has(answer.slot)) keys.set(answer.slot, `bench-${i}`)
    }
    if (keys.size < slots) throw new Error(`1000 keys found ${keys.size} of ${slots} slots of ${app}`)
    return [...keys.values()]
  }

  /** What the app says of itself, through the router; null for anything but a 200. */
  ask(app: string, key: string): Promise<AppAnswer | null> {
    const headers = { host: `${app}.localhost`, 'x-routing-key': key }
    return get(this.stack.routerUrl, headers).then(
      ({ status, text }) => (status === 200 ? (JSON.parse(text) as AppAnswer) : null),
      () => null,
    )
  }
}

export type AppAnswer = { slot: number; deployment: string; instance: string; version: string }

function operationOf(answer: OperationAnswer): BenchOperation {
  const steps = answer.steps.map(({ step, words, state, detail, start_time, end_time }) => ({
    step,
    words,
    state,
    detail,
    from: Date.parse(start_time),
    to: end_time === undefined ? Number.NaN : Date.parse(end_time),
  }))
  return {
    id: answer.id,
    state: answer.state,
    requestedAt: Date.parse(answer.request_time),
    endedAt: Date.parse(answer.end_time as string),
    steps: steps.sort((a, b) => a.from - b.from),
    ...(answer.failure !== undefined && { failure: answer.failure }),
  }
}

export function get(url: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { headers, agent: false, timeout: 5_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text })).on('error', reject)
    })
    outgoing.on('error', reject).on('timeout', () => outgoing.destroy(new Error('timed out')))
    outgoing.end()
  })
}

/** Waits until `url` answers 200; returns the time, as of `performance.now()`. */
export async function untilOk(url: string, headers: Record<string, string> = {}): Promise<number> {
  for (const end = performance.now() + DEADLINE_MS; performance.now() < end; await sleep(POLL_MS)) {
    const status = await get(url, headers).then(
      (answer) => answer.status,
      () => 0,
    )
    if (status === 200) return performance.now()
  }
  throw new Error(`${url} did not answer within ${DEADLINE_MS / 1000} s`)
}

export type OwnTimes = { startMs: number; stopMs: number }

/** How long an app of Node needs by itself, without any platform: from spawn to its first answer, and to end. */
export async function ownTimes(folder: string, command: readonly string[]): Promise<OwnTimes> {
  const [port] = (await freePorts(1)) as [number]
  const [program = '', ...args] = command
  const began = performance.now()
  const child = spawn(program, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, DATABRICKS_APP_PORT: String(port) },
    stdio: 'ignore',
  })
  const failed = once(child, 'error').then(([error]) => Promise.reject(error as Error))
  const startMs = (await Promise.race([untilOk(`http://127.0.0.1:${port}/`), failed])) - began
  return { startMs, stopMs: await endedAfter(child, 'SIGTERM') }
}

/** The slowest of `count` that start at once, and of as many that end at once. */
export async function slowestOf(count: number, folder: string, command: readonly string[]): Promise<OwnTimes> {
  const all = await Promise.all(Array.from({ length: count }, () => ownTimes(folder, command)))
  return {
    startMs: Math.max(...all.map(({ startMs }) => startMs)),
    stopMs: Math.max(...all.map(({ stopMs }) => stopMs)),
  }
}

/** Sends the signal and returns how many ms the process took to end. */
export async function endedAfter(child: ChildProcess, signal: NodeJS.Signals): Promise<number> {
  const began = performance.now()
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
  return performance.now() - began
}

/** `build` for `start/hello-1234-0`: what kind of step it is. */
export const kindOf = (step: string): string => step.split('/')[0] as string
