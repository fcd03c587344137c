/** One app on which one operation is interrupted again and again; a lane brings it back to where that starts from. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Platform } from '../helpers/platform.ts'
import { writeCrashApp } from './app.ts'
import type { Door, Doors } from './client.ts'
import { type CrashOperation, type OperationName, operationOf, type Shape } from './operations.ts'
import { lookAround, stateOf } from './world.ts'

export type LaneDeps = {
  platform: Platform
  doors: Doors
  /** Folder of the fuses of `app.ts`. */
  fuses: string
}

export class Lane {
  readonly operation: CrashOperation
  readonly #deps: LaneDeps
  readonly #name: string
  #generation = 1
  #version = 0

  /** @param name what its app is called by. */
  constructor(operation: OperationName, name: string, deps: LaneDeps) {
    this.#name = name
    this.#deps = deps
    this.operation = operationOf(operation)
  }

  get app(): string {
    return `${this.#name.replaceAll(' ', '-')}-${this.#generation}`
  }

  /** After a case that failed: the app is left as it is, and the next case gets another one. */
  renew(): void {
    this.#generation++
  }

  /** Brings the app into the state from which the operation starts. */
  async prepare(): Promise<void> {
    for (let step = await this.#nextStep(); step !== null; step = await this.#nextStep()) await step()
  }

  /** Starts the operation that is to be interrupted. */
  async begin(door: Door): Promise<{ launcher: string | null }> {
    const { type, input } = this.operation
    return this.#deps.doors.begin(door, type, this.app, { ...input, ...(await this.#ownInput()) })
  }

  /** Any operation that makes sense now; it has to be taken and to succeed. */
  async anotherOperation(): Promise<void> {
    const step = await this.#nextStep()
    if (step !== null) return step()
    const type = this.operation.from.running ? 'restart' : 'start'
    await this.#deps.doors.execute(type, this.app)
  }

  /** The new instance that the operation starts in the slot of the fuse crashes. */
  async lightFuse(): Promise<void> {
    await writeFile(join(this.#deps.fuses, this.app), String(this.operation.fuse))
  }

  async putOutFuse(): Promise<void> {
    await rm(join(this.#deps.fuses, this.app), { force: true })
  }

  async #ownInput(): Promise<Record<string, unknown>> {
    if (this.operation.type === 'deploy') return { sourceCodePath: await this.#nextSource() }
    if (this.operation.type !== 'rollback') return {}
    const { app, kept } = this.#look()
    return { deployment: kept.find(({ id }) => id !== app?.active_deployment)?.id }
  }

  /** The first thing in which the app differs from what it should be, and how that is changed. */
  async #nextStep(): Promise<(() => Promise<void>) | null> {
    const { doors } = this.#deps
    const want: Shape = this.operation.from
    const { app, kept } = this.#look()
    if (app === null) return () => this.#create(want)
    const execute = (type: 'convert' | 'resize' | 'start' | 'stop', input: Record<string, unknown> = {}) => {
      return () => doors.execute(type, this.app, input)
    }
    const other = app.mode !== want.mode || app.instances !== want.instances || kept.length < want.deployments
    if (app.desired === 'stopped' && (want.running || other)) return execute('start')
    if (kept.length < want.deployments)
      return async () => doors.execute('deploy', this.app, { sourceCodePath: await this.#nextSource() })
    if (app.mode !== want.mode) return execute('convert', { to: want.mode })
    if (app.instances !== want.instances) return execute('resize', { instances: want.instances })
    if (app.desired === 'running' && !want.running) return execute('stop')
    return null
  }

  #look() {
    const world = lookAround(this.#deps.platform)
    return {
      app: stateOf(world, this.app).app,
      kept: world.deployments.filter(
        ({ app, state, artifact }) => app === this.app && state === 'SUCCEEDED' && artifact !== null,
      ),
    }
  }

  async #create(want: Shape): Promise<void> {
    const { platform } = this.#deps
    const count = want.mode === 'scaled' && {
      compute_min_instances: want.instances,
      compute_max_instances: want.instances,
    }
    const { status, body } = await platform.stack.api('POST', '/api/2.0/apps', { name: this.app, ...count })
    if (status !== 200) throw new Error(`could not create ${this.app}: ${status} ${JSON.stringify(body)}`)
    await this.#deps.doors.execute('deploy', this.app, { sourceCodePath: await this.#nextSource() })
  }

  #nextSource(): Promise<string> {
    this.#version++
    return writeCrashApp(this.#deps.platform.sources, this.#deps.fuses, `v${this.#version}`)
  }
}
