import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { type Stack, type StartStackOptions, startStack } from '../../scripts/stack/stack.ts'

export type { Stack } from '../../scripts/stack/stack.ts'

export type TestStack = Stack & {
  /** One call of the API; the body as JSON, and whatever came back. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes, and fail where they differ
  api(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }>
  /** What happened to the processes: deaths, restarts. */
  readonly events: string[]
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * A whole stack on free ports and in a folder of its own: real Temporal, control plane, router, worker. Stop it with
 * `await using`, or `stop()` in `afterAll`, which also removes the folder.
 */
export async function startTestStack(options: Partial<StartStackOptions> = {}): Promise<TestStack> {
  const home = options.home ?? (await mkdtemp(join(tmpdir(), 'coppice-test-')))
  const events: string[] = []
  const stack = await startStack({ home, ports: 'free', onEvent: (words) => events.push(words), ...options })
  const stop: Stack['stop'] = async (how) => {
    await stack.stop(how)
    if (options.home === undefined) await removeTree(home)
  }
  return Object.assign(Object.create(stack) as Stack, {
    events,
    stop,
    api: (method: string, path: string, body?: unknown) => callApi(stack, method, path, body),
    [Symbol.asyncDispose]: () => stop(),
  })
}

async function callApi(stack: Stack, method: string, path: string, body?: unknown) {
  const answer = await fetch(`${stack.apiUrl}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${stack.token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? null : JSON.parse(text) }
}
