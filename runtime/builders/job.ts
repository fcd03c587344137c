import { randomUUID } from 'node:crypto'
import { mkdir, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ArtifactStore } from '../artifacts/artifacts.ts'
import { sha256 } from '../artifacts/manifest.ts'
import type { OpenSealed, Stage } from '../artifacts/sealed-store.ts'
import { diskFull } from '../disk.ts'
import { findProgram } from '../tool-path.ts'
import { type Box, type CommandOptions, runCommand, type Spawn } from './command.ts'
import type { InstallEnvironment } from './install-environment.ts'
import type { Caller, SingleFlight } from './single-flight.ts'

/** What the steps of a build work with. */
export type Workshop = {
  artifacts: ArtifactStore
  share: SingleFlight
  spawn: Spawn
  /** Without a folder: that is each stage's. */
  box: Omit<Box, 'folder'>
  /** Made anew for each build, because files of pip and uv may have changed. */
  environment: InstallEnvironment
  tools: BuildTools
  /** Pins a key for the operation that builds; done before it is looked up (D6). */
  pin: (key: string) => Promise<void>
}

export type BuildTools = {
  /** Absolute path of uv; throws ToolMissing. */
  uv: () => Promise<string>
}

/** A tree that is being made, and how programs are run for it. */
export type Job = Caller & {
  stage: Stage
  /** Throws BuildFailed. The name is how people know the command. */
  run: (
    argv: readonly string[],
    options: Pick<CommandOptions, 'cwd' | 'name'> & {
      env?: Record<string, string | undefined>
      /** Lines that say nothing and would push out those that do. */
      skip?: (line: string) => boolean
    },
  ) => Promise<void>
  /** Absolute path of a program of this machine, or null. */
  program: (name: string) => string | null
}

/** A sealed tree, and whether it had to be made. */
export type Ensured = OpenSealed & { made: boolean }

/**
 * Finds the tree of this key, or makes it. Wanted twice at a time it is made once; what fails or is aborted leaves
 * nothing behind. `make` fills the stage and returns what the manifest is to remember.
 */
export async function ensureTree(
  workshop: Workshop,
  key: string,
  caller: Caller,
  make: (job: Job) => Promise<unknown>,
): Promise<Ensured> {
  await workshop.pin(key)
  const found = await workshop.artifacts.store.open(key)
  if (found !== null) return { ...found, made: false }
  return workshop.share(key, caller, async (shared) => {
    const foundNow = await workshop.artifacts.store.open(key)
    if (foundNow !== null) return { ...foundNow, made: false }
    const stage = await workshop.artifacts.store.stage().catch(diskFull)
    try {
      const program = (name: string) => findProgram(name, (workshop.environment.env.PATH ?? '').split(':'))
      const meta = await make({ ...shared, stage, run: await commandRunner(workshop, shared, stage), program })
      shared.signal.throwIfAborted()
      await stage.seal(key, meta)
    } catch (error) {
      // An abort shows up as whatever it broke; what counts is that it was one.
      shared.signal.throwIfAborted()
      return diskFull(error)
    } finally {
      await stage.discard()
    }
    const made = await workshop.artifacts.store.open(key)
    if (made === null) throw new Error(`${key} is damaged right after it was made`)
    return { ...made, made: true }
  })
}

/** Programs of a build get a HOME and a TMPDIR of their own, which go with the stage. */
async function commandRunner(workshop: Workshop, caller: Caller, stage: Stage): Promise<Job['run']> {
  const home = join(stage.scratch, `home-${randomUUID().slice(0, 8)}`)
  const temporary = join(home, 'tmp')
  await mkdir(temporary, { recursive: true })
  const environment = { ...workshop.environment.env, HOME: home, TMPDIR: temporary }
  const box = { ...workshop.box, folder: await realpath(dirname(stage.scratch)) }
  return async (argv, { env = {}, skip = () => false, ...options }) => {
    caller.log(`$ ${options.name}`)
    await runCommand(argv, {
      ...options,
      env: { ...environment, ...env },
      signal: caller.signal,
      log: caller.log,
      edit: (line) => (skip(line) ? null : readable(line, stage)),
      spawn: workshop.spawn,
      box,
    })
    // Nothing that it started lives any more, so what is right now stays so until the next one.
    await stage.check()
  }
}

/**
 * People know their files by the names they have in the source, not by where a build has put them; and the password of
 * a package index has no place in a log.
 */
function readable(line: string, stage: Stage): string {
  return [stage.tree, stage.scratch]
    .reduce((text, path) => text.replaceAll(`${path}/`, '').replaceAll(path, '.'), line)
    .replace(/(\w:\/\/)[^/@\s]+@/g, '$1***@')
}

/** Raise it when the same source is built into something else than before: then nothing old is used any more. */
const BUILDS = 1

/** A key: what kind of tree it is, and a digest of everything that decides what is in it. */
export function keyOf(kind: string, ...deciding: unknown[]): string {
  return `${kind}-${sha256(JSON.stringify([BUILDS, ...deciding])).slice(0, 40)}`
}
