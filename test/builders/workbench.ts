import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { createArtifacts } from '../../runtime/artifacts/artifacts.ts'
import { copyTree, removeTree } from '../../runtime/artifacts/trees.ts'
import { createBuilder } from '../../runtime/builders/builder.ts'
import type { Spawn } from '../../runtime/builders/command.ts'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import type { BuildRequest, BuildResult } from '../../runtime/contracts.ts'
import { makeEnvironment } from '../../runtime/environment.ts'
import { confinement } from '../../runtime/providers/process/confinement.ts'
import { createSources } from '../../runtime/sources/sources.ts'
import { toolPath } from '../../runtime/tool-path.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'

const run = promisify(execFile)

/** As the worker does it. */
const prefix = () =>
  confinement({
    uid: process.getuid?.() ?? -1,
    platform: process.platform,
    path: process.env.PATH ?? '',
    logger: { warn: () => undefined },
  })

export type Workbench = ReturnType<typeof createWorkbench>

/** A data directory with real parts, and folders of apps to build in it. */
export function createWorkbench(options: {
  cacheDir: string
  preinstalled?: string
  spawn?: Spawn
  home?: string
  /** Of the limit of builds. */
  clock?: Clock
}) {
  let home = options.home ?? mkdtempSync(join(tmpdir(), 'coppice-build-'))
  // Others may look in, so that what keeps them from writing is the seal and nothing else.
  chmodSync(home, 0o755)
  const preinstalledFile = join(home, 'preinstalled.txt')
  writeFileSync(preinstalledFile, options.preinstalled ?? '')
  const pinned = new Map<string, Set<string>>()
  const pins = {
    pin: async (key: string, holder: string) => void pinned.set(key, (pinned.get(key) ?? new Set()).add(holder)),
    isPinned: async (key: string) => (pinned.get(key)?.size ?? 0) > 0,
  }
  /** Commands that builds started, without the shell around them. */
  const commands: string[][] = []
  const parts = () => {
    const sources = createSources({ directory: join(home, 'sources'), pins, now: Date.now })
    const artifacts = createArtifacts({ directory: join(home, 'artifacts'), pins, now: Date.now })
    const builder = createBuilder({
      artifacts,
      sources,
      pins,
      preinstalledFile,
      cacheDir: options.cacheDir,
      env: process.env,
      toolPath: toolPath(process.execPath, process.env),
      tools: { uv: async () => (await resolveTool('uv')).path },
      prefix,
      clock: options.clock ?? systemClock,
      homeId: `test-${randomUUID().slice(0, 8)}`,
      spawn: (program, args, spawnOptions) => {
        commands.push(args.slice(args.indexOf('build') + 1))
        return (options.spawn ?? spawn)(program, args, spawnOptions)
      },
    })
    return { sources, artifacts, builder }
  }
  let current = parts()

  /** Writes a folder: path → content; a content that begins with `#!` is executable. */
  function folder(name: string, files: Record<string, string>): string {
    const path = join(home, 'folders', name)
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(dirname(join(path, file)), { recursive: true })
      writeFileSync(join(path, file), content)
      if (content.startsWith('#!')) chmodSync(join(path, file), 0o755)
    }
    return path
  }

  async function build(
    path: string,
    request: Partial<BuildRequest> = {},
    signal = new AbortController().signal,
  ): Promise<BuildResult & { log: string[]; progress: string[] }> {
    const { digest } = await current.sources.snapshot(path)
    const log: string[] = []
    const progress: string[] = []
    const result = await current.builder.build(
      { app: 'app', source: digest, preinstalled: false, holder: 'operation', ...request },
      { signal, log: (line) => log.push(line), onProgress: (words) => progress.push(words) },
    )
    return { ...result, log, progress }
  }

  /** Runs a program as an instance of the artifact would be: in a working copy, with the app's environment. */
  async function runIn(artifact: string, argv?: string[]): Promise<string> {
    const opened = await current.artifacts.open(artifact)
    if (opened === null) throw new Error(`${artifact} is damaged`)
    const workingCopy = mkdtempSync(join(home, 'instance-'))
    await copyTree(opened.path, workingCopy)
    for (const [name, target] of Object.entries(opened.run.links)) symlinkSync(target, join(workingCopy, name))
    const { env } = makeEnvironment({
      app: 'app',
      slot: 0,
      deployment: 'd',
      url: null,
      host: null,
      workspaceId: '0',
      run: opened.run,
      overrides: [],
      secret: () => undefined,
      toolPath: toolPath(process.execPath, process.env),
      inherited: {},
    })
    const [program = '', ...args] = argv ?? opened.run.command
    const found = await run('/bin/sh', ['-c', 'exec "$@"', 'run', program, ...args], { cwd: workingCopy, env })
    return found.stdout.trim()
  }

  return {
    get home() {
      return home
    },
    get artifacts() {
      return current.artifacts
    },
    get sources() {
      return current.sources
    },
    commands,
    pinned,
    folder,
    build,
    runIn,
    treeOf: (key: string) => join(home, 'artifacts', 'kept', key, 'tree'),
    /** Names in a place of the store, e.g. `kept`. */
    names: (place: 'kept' | 'making' | 'trash') => namesIn(join(home, 'artifacts', place)),
    /** As a new start of the worker in a data directory that is somewhere else now. */
    moveTo: (path: string) => {
      home = path
      current = parts()
    },
    remove: () => removeTree(home),
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path).sort()
  } catch {
    return []
  }
}

/** A Python package in the source whose build writes its pid to `pidFile` and never ends; it needs no registry. */
export function endlessPackage(pidFile: string): Record<string, string> {
  return {
    'app.py': 'print(1)',
    'requirements.txt': './endless\n',
    'endless/pyproject.toml':
      '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "endless"\nversion = "1"\n',
    'endless/backend.py': `import os, time
def build_wheel(*args, **kwargs):
    with open(${JSON.stringify(`${pidFile}.new`)}, "w") as file:
        file.write(str(os.getpid()))
    os.rename(${JSON.stringify(`${pidFile}.new`)}, ${JSON.stringify(pidFile)})
    time.sleep(600)
`,
  }
}
