import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { pino } from 'pino'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import type { InstanceSpec, Provider } from '../../runtime/contracts.ts'
import { createProcessProvider, type ProcessProviderOptions } from '../../runtime/providers/process/process-provider.ts'
import { TestPorts } from './test-ports.ts'

export type Bench = Awaited<ReturnType<typeof createBench>>

/** A data directory with a process provider over it; `close` removes every instance, and then the directory. */
export async function createBench(options: Partial<ProcessProviderOptions> = {}) {
  const root = await mkdtemp(join(tmpdir(), 'coppice-bench-'))
  const ports = new TestPorts(join(root, 'ports.json'))
  const opened: Array<ReturnType<typeof createProcessProvider>> = []
  /** Another provider over the same directory, as a worker that comes after one that died. */
  const open = (more: Partial<ProcessProviderOptions> = {}) => {
    const provider = createProcessProvider({
      home: join(root, 'instances'),
      homeId: basename(root),
      logsDir: join(root, 'logs'),
      ports,
      logger: pino({ level: 'silent' }),
      watchIntervalMs: 50,
      ...options,
      ...more,
    })
    opened.push(provider)
    return provider
  }
  let artifacts = 0
  const artifact = async (files: Record<string, string>): Promise<string> => {
    const path = join(root, 'artifacts', String(artifacts++))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(path, name)), { recursive: true })
      await writeFile(join(path, name), text)
    }
    return path
  }
  const provider = open()
  return {
    root,
    home: join(root, 'instances'),
    ports,
    provider,
    open,
    artifact,
    /** A spec whose command runs `app.mjs`, the source that is given. */
    async spec(source: string, more: Partial<InstanceSpec> = {}): Promise<InstanceSpec> {
      return {
        id: 'hello-00000001-0',
        app: 'hello',
        slot: 0,
        deployment: 'd1',
        artifactPath: more.artifactPath ?? (await artifact({ 'app.mjs': source })),
        links: {},
        command: [process.execPath, 'app.mjs'],
        env: { PATH: process.env.PATH ?? '' },
        portVariables: ['PORT', 'DATABRICKS_APP_PORT'],
        health: { path: null, timeoutMs: 20_000 },
        mode: 'scaled',
        ...more,
      }
    },
    suspend({ pid }: { pid: number }): void {
      process.kill(-pid, 'SIGSTOP')
    },
    resume({ pid }: { pid: number }): void {
      process.kill(-pid, 'SIGCONT')
    },
    async close(): Promise<void> {
      for (const id of await provider.list()) await provider.remove(id, { graceMs: 0 })
      for (const each of opened) each.close()
      await removeTree(root)
    },
  }
}

/** Until the condition holds; what it returned. The deadline is for a loaded machine, not for the code. */
export async function until<T>(look: () => Promise<T> | T, holds: (seen: T) => boolean = Boolean): Promise<T> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const seen = await look()
    if (holds(seen)) return seen
    if (Date.now() > deadline) throw new Error(`still not so after 30 s: ${JSON.stringify(seen)}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** GET, as soon as somebody listens. */
export async function get(address: string, path = '/'): Promise<string> {
  const response = await until(
    () => fetch(`http://${address}${path}`).catch(() => null),
    (seen) => seen !== null,
  )
  return (await response?.text()) ?? ''
}

export async function exited(provider: Provider, id: string) {
  const seen = await until(
    () => provider.observe(id),
    (found) => found.state === 'exited',
  )
  if (seen.state !== 'exited') throw new Error('not reached')
  return seen
}
