/**
 * What the parts of the runtime promise each other. Sagas reach the world through these interfaces only, so that a
 * provider for containers or pods can take the place of the one for processes (DESIGN D11).
 */

import type { Collected } from '../domain/kept-things.ts'
import type { DesiredState, ObservedState } from '../domain/states.ts'

// ---- instances -----------------------------------------------------------------------------------------------

/** Everything a provider needs to run one instance. Made afresh for each start, so that rotated secrets arrive. */
export type InstanceSpec = {
  id: string
  app: string
  slot: number
  deployment: string
  /** Absolute path of the sealed artifact whose content becomes the working directory. */
  artifactPath: string
  /** Links to make in the working directory: name → absolute path in a sealed layer, e.g. `node_modules`. */
  links: Record<string, string>
  /** Program and arguments; `$DATABRICKS_APP_PORT` still to be substituted by the provider, which knows the port. */
  command: string[]
  /** The whole environment but for what only the provider knows: port, HOME, TMPDIR, COPPICE_INSTANCE_ID. */
  env: Record<string, string>
  /** Names of variables that get the port as their value, e.g. PORT and DATABRICKS_APP_PORT. */
  portVariables: string[]
  health: HealthSpec
  /** `scaled` refuses an app that listens on loopback only, `standard` warns (R1.4). */
  mode: 'standard' | 'scaled'
}

export type HealthSpec = {
  /** Path that is asked; null means the default check: any answer below 500 on `/`. With a path: below 400. */
  path: string | null
  /** How long after its start an instance may take to become healthy, in ms. */
  timeoutMs: number
}

export type Observation =
  | { state: 'absent' }
  | {
      state: 'running'
      address: string
      pid: number
      startedAt: number
      /**
       * It is there and nothing of what answers at its address does anything, until somebody lets it go on: its processes
       * were stopped by a signal, its container is paused. As of the provider's last look.
       */
      suspended: boolean
    }
  | { state: 'exited'; code: number | null; signal: string | null; at: number }

/**
 * Runs instances. Every method is idempotent and tolerates "never happened". Nothing here waits for health: a
 * provider knows processes, `runtime/health.ts` knows whether they serve.
 */
export interface Provider {
  readonly name: string
  /** Brings the instance up, or finds it up. An exited one is started again in a fresh working directory. */
  ensure(spec: InstanceSpec): Promise<Extract<Observation, { state: 'running' }>>
  observe(id: string): Promise<Observation>
  /** SIGTERM, `graceMs`, SIGKILL, of everything that belongs to it; then its directory and its port go too. */
  remove(id: string, options: { graceMs: number }): Promise<Removal>
  /**
   * Ids of everything that is there in any form: processes, directories, intents. But for what `remove` has lately told as
   * left: it is tried again at times, and not at each look.
   */
  list(): Promise<string[]>
  /** Addresses on which the processes of the instance listen, as `host:port`; of one port alone where it is given. */
  listeners(id: string, port?: number): Promise<string[]>
  /** The last lines the instance wrote, oldest first; also after it is gone. */
  logLines(id: string, count: number): Promise<string[]>
  /**
   * Calls back when an instance that this process watches has exited, was suspended, or goes on: within two seconds of
   * it, and after `observe` says so. Returns the way to stop that.
   */
  onChange(listener: (id: string) => void): () => void
}

/**
 * What could not be taken away (R13.8), in words: it has been set aside, or stays where it is. It stands in nobody's way.
 * Null as a rule.
 */
export type Removal = { left: string | null }

/** Ports that are written down before they are used and rest in quarantine afterwards; kept by the store. */
export interface PortLeases {
  /** The port of this instance; the same one at every call until it is released. Throws PortUnavailable. */
  acquire(instance: string): Promise<number>
  /** Something foreign listens there: sets it aside for a while and gives another one. */
  replace(instance: string, port: number): Promise<number>
  /** Gives it back: it rests until every registered router has acknowledged a table without it. */
  release(instance: string): Promise<void>
}

/** What the worker's reconciler and actors know of the inventory. Kept by the store. */
export type InstanceRecord = {
  id: string
  app: string
  slot: number
  deployment: string
  /** The operation that brought it; while that is open, the instance is the operation's business. */
  operation: string
  /** True while the operation that brought it is still open. */
  operationOpen: boolean
  desired: DesiredState
  role: 'standby' | 'serving' | 'draining'
  observed: ObservedState
  /** Crashes in a row, for the back-off; 0 after it has been up for 10 minutes. */
  crashes: number
  /**
   * Unix ms before which it is not started again; null for now. While it runs: when it is started anew, unless what it
   * suffers from ends before (`runtime/ailment.ts`).
   */
  restartAt: number | null
  address: string | null
  /** What to ask it, as in `HealthSpec`. */
  healthPath: string | null
}

/** What is left out stays as it is. */
export type ObservedPatch = {
  observed?: ObservedState
  address?: string | null
  pid?: number | null
  crashes?: number
  restartAt?: number | null
  message?: string | null
  startedAt?: number | null
  logLines?: string[]
}

export type SpecCaller = { signal: AbortSignal; onProgress: (words: string) => void }

export interface InstanceInventory {
  list(): Promise<InstanceRecord[]>
  get(id: string): Promise<InstanceRecord | null>
  /**
   * Instances that routers in touch have had no byte from for longer than the app allows, with since when (Unix ms) one
   * of them has said so without a break.
   */
  silent(): Promise<ReadonlyMap<string, number>>
  /** Writes what was observed; publishes a new table when the address of a serving instance changed, or whether it is up. */
  observe(id: string, patch: ObservedPatch): Promise<void>
  /** Desired state `retired`: from here on a start of it fails. Unknown ids are a success. */
  retire(id: string): Promise<void>
  /** Takes the row out once nothing of it is left; its port goes into quarantine. */
  forget(id: string): Promise<void>
  /**
   * What to start. A damaged artifact is built again first, which may take minutes: `signal` ends that, `onProgress` hears
   * of it. Throws CoppiceError, e.g. SecretMissing; null when the instance is unknown.
   */
  spec(id: string, caller: SpecCaller): Promise<InstanceSpec | null>
  /** Something people should see in the history of the app. */
  event(event: {
    app: string
    instance: string
    kind: InstanceEventKind
    message: string
    logLines?: string[]
  }): Promise<void>
}
export type InstanceEventKind =
  | 'crashed'
  | 'restarted'
  | 'crashLoop'
  | 'suspended'
  | 'resumed'
  | 'replaced'
  | 'adopted'
  | 'removedStray'
  | 'loopbackWarning'

/** How an instance ended, for people. */
export type EndedInstance = { id: string; message: string; logLines: string[] }

/** One serial actor an instance (DESIGN D5). What the activities call. */
export interface Instances {
  /**
   * Starts it and waits until it is healthy; a second call joins the first. Throws CoppiceError with what people
   * need: AppCrashedAtStart, AppListensOnLoopback, AppListensOnWrongPort, AppDoesNotListen, HealthCheckFailed,
   * HealthCheckTimedOut (each with `details.logLines`), InstanceRetired, PortUnavailable, DiskFull.
   */
  start(
    id: string,
    options?: { signal?: AbortSignal; onProgress?: (words: string) => void },
  ): Promise<{ address: string; startMs: number }>
  /** Retires, stops and removes it; nothing of it is left when this returns, but what it says. */
  stop(id: string, options?: { graceMs?: number }): Promise<Removal>
  /**
   * Which of these do not run, as the provider sees it now. What is written down of them is a moment old, and as old as
   * the death of the last worker while this one has not reconciled yet.
   */
  ended(ids: string[]): Promise<EndedInstance[]>
  /** `reconcile` for one of which the inventory has changed: nobody waits 10 s then. */
  lookAgain(id: string): Promise<void>
  /** Compares what is with what should be, and acts; called at start and every 10 s. */
  reconcile(): Promise<void>
  close(): Promise<void>
}

// ---- sources, layers, artifacts ------------------------------------------------------------------------------

/** Source snapshots by digest, read-only. */
export interface Sources {
  /** Takes a snapshot of a folder (`.gitignore` honoured, links that leave it refused, files over 10 MB refused). */
  snapshot(
    folder: string,
    options?: { signal?: AbortSignal },
  ): Promise<{ digest: string; files: number; bytes: number }>
  /** Takes in an uploaded tar (gzip or not); refuses what `snapshot` refuses. Half an upload leaves nothing. */
  receive(stream: AsyncIterable<Uint8Array>): Promise<{ digest: string; files: number; bytes: number }>
  /** Absolute path of the snapshot, or null when there is none or it is damaged. */
  path(digest: string): Promise<string | null>
}

export type BuildRequest = {
  app: string
  /** Digest of the source snapshot. */
  source: string
  /**
   * With the pre-installed Python libraries as a layer beneath (R3.2): those of today, or the ones that an earlier build
   * of the same was made with. Ignored where there is no requirements.txt path to them.
   */
  preinstalled: boolean | readonly string[]
  /** Of the deployment, in place of the source's; decides whether Python is needed. Default: the source's. */
  command?: readonly string[] | null
  /** Who pins what is used: the operation's id. */
  holder: string
}

export type BuildResult = {
  /** Key of the artifact. */
  artifact: string
  /** Keys of the layers it stands on. */
  layers: string[]
  /** What had to be built; empty when everything was there (R4.1, R4.2). */
  built: Array<'preinstalled' | 'dependencies' | 'source'>
  /** The requirements of the pre-installed libraries beneath it; null for none. */
  preinstalled: readonly string[] | null
}

/** How an artifact is run; written into its manifest at build time. */
export type RunSpec = {
  /** From app.yaml, else the default of the runtime contract; empty where only the deployment has one. */
  command: string[]
  /** `env` of app.yaml, in its order. */
  env: Array<{ name: string; value: string } | { name: string; valueFrom: string }>
  /** Directories put before PATH, absolute. */
  path: string[]
  /** Variables that the layers need, e.g. VIRTUAL_ENV. */
  vars: Record<string, string>
  /** Links for the working directory: name → absolute path in a layer. */
  links: Record<string, string>
  runtime: 'python' | 'node'
}

export interface Builder {
  /**
   * Builds what is missing and pins what is used. Throws BuildFailed (with `details.logLines`), NoCommand,
   * AppConfigInvalid, SourceNotFound, ToolMissing, DiskFull; aborting the signal ends every process it started and
   * removes what is half built.
   */
  build(
    request: BuildRequest,
    options: { signal: AbortSignal; log: (line: string) => void; onProgress: (words: string) => void },
  ): Promise<BuildResult>
}

export interface Artifacts {
  /** Absolute path of a sealed artifact that has passed its check, or null: it has to be built again. */
  open(key: string): Promise<{ path: string; run: RunSpec } | null>
  /** Removes what nothing needs; see DESIGN D6 for the order of steps. */
  collect(options: { maxCount: number; maxBytes: number; maxAgeMs: number }): Promise<Collected>
}

/** Who needs which artifact, layer or source; kept by the store. */
export interface Pins {
  pin(key: string, holder: string): Promise<void>
  unpin(holder: string): Promise<void>
  isPinned(key: string): Promise<boolean>
}
