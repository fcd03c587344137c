/** A control plane in this process: real HTTP, real store, real sources; Temporal where a test gives one. */

import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { readOrMakeToken } from '../../control/auth.ts'
import { startControlPlane } from '../../control/control-plane.ts'
import { InstanceLogs } from '../../control/logs.ts'
import { resolveOptions } from '../../control/options.ts'
import { openTemporal } from '../../control/temporal.ts'
import { createArtifacts } from '../../runtime/artifacts/artifacts.ts'
import { createKeptThings } from '../../runtime/artifacts/kept-things.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { lastLines, lastWholeLines, logSize, readLog } from '../../runtime/log-file.ts'
import { resolveSource } from '../../runtime/source-roots.ts'
import { createSources } from '../../runtime/sources/sources.ts'
import { openStore, type Store } from '../../store/store.ts'

export type TestControl = {
  url: string
  home: string
  /** A source root. */
  sources: string
  token: string
  store: Store
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes, and fail where they differ
  call(method: string, path: string, body?: unknown, token?: string): Promise<{ status: number; body: any }>
  /** As it is, for bodies that are no JSON. */
  raw(path: string, init?: RequestInit): Promise<Response>
  stop(): Promise<void>
}

/** Nobody listens there: port 1 needs rights that tests do not have. */
const NO_TEMPORAL = '127.0.0.1:1'

export async function startTestControl(
  options: { temporal?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<TestControl> {
  const home = await mkdtemp(join(tmpdir(), 'coppice-control-'))
  const roots = join(home, 'roots')
  await mkdir(roots)
  const resolved = resolveOptions(
    ['--home', home, '--api-listen', '127.0.0.1:0', '--source-roots', roots, '--log-level', 'silent'],
    { COPPICE_TEMPORAL_ADDRESS: options.temporal ?? NO_TEMPORAL, COPPICE_HORIZONTAL_SCALING: 'on', ...options.env },
  )
  const token = readOrMakeToken(resolved.tokenFile)
  const store = await openStore(resolved.store)
  const temporal = openTemporal(resolved.temporal)
  const sources = createSources({ directory: join(home, 'sources'), pins: store.pins, now: Date.now })
  const artifacts = createArtifacts({ directory: join(home, 'artifacts'), pins: store.pins, now: Date.now })
  const control = await startControlPlane({
    options: resolved,
    store,
    temporal,
    token,
    log: pino({ level: 'silent' }),
    logs: new InstanceLogs({
      directory: join(home, 'logs', 'instances'),
      lastLines,
      lastWholeLines,
      readLog,
      logSize,
      pollMs: 20,
    }),
    receiveSource: sources.receive,
    hasSource: async (digest) => (await sources.path(digest)) !== null,
    resolveSource: (path) => resolveSource(resolved.sourceRoots, path),
    kept: createKeptThings(artifacts, sources),
    runtimeChecks: async () => [],
    computeLimits: 'advisory',
  })
  const raw: TestControl['raw'] = (path, init = {}) =>
    fetch(control.url + path, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } })
  return {
    url: control.url,
    home,
    sources: roots,
    token,
    store,
    raw,
    async call(method, path, body, as = token) {
      const answer = await raw(path, {
        method,
        headers: { authorization: `Bearer ${as}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      return { status: answer.status, body: await answer.json() }
    },
    async stop() {
      await control.stop()
      await temporal.close()
      await store.close()
      await removeTree(home)
    },
  }
}

export type StreamedEvent = { id: string; event: string; data: unknown } | { comment: true }

/** Reads server-sent events one by one, comments included. The parser is our own and knows no more than the standard. */
export async function* readEvents(answer: Response): AsyncGenerator<StreamedEvent> {
  if (!answer.ok) throw new Error(`no stream, but ${answer.status}: ${await answer.text()}`)
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true })
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n')
      text = text.slice(end + 2)
      if (lines.every((line) => line.startsWith(':'))) {
        yield { comment: true }
        continue
      }
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? ''
      yield { id: field('id'), event: field('event'), data: JSON.parse(field('data')) }
    }
  }
}
