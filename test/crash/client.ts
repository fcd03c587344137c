/** Starts operations as people do: by the API where it has them, else by hand as the `temporal` CLI does. */
import { randomUUID } from 'node:crypto'
import { Client, Connection } from '@temporalio/client'
import { appWorkflowId, TASK_QUEUE } from '../../domain/product.ts'
import type { OperationType } from '../../domain/states.ts'
import { type Platform, until } from '../helpers/platform.ts'

export type Door = 'api' | 'temporal'

/** Long: the machine may be busy, and a killed worker is back only when its supervisor says so. */
const CALL_MS = 60_000

export class Doors {
  readonly #platform: Platform
  readonly #connection: Connection
  readonly #client: Client

  private constructor(platform: Platform, connection: Connection) {
    this.#platform = platform
    this.#connection = connection
    this.#client = new Client({ connection })
  }

  static async open(platform: Platform): Promise<Doors> {
    return new Doors(platform, await Connection.connect({ address: platform.stack.temporalAddress }))
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  /** Returns when the operation is under way; `launcher` is the workflow to look at, if it was started by hand. */
  async begin(
    door: Door,
    type: OperationType,
    app: string,
    input: Record<string, unknown>,
  ): Promise<{ launcher: string | null }> {
    const call = door === 'api' ? apiCall(type, app, input) : null
    if (call !== null) {
      const { status, body } = await this.#platform.stack.api(call.method, call.path, call.body)
      if (status !== 200) throw new Error(`${call.method} ${call.path}: ${status} ${JSON.stringify(body)}`)
      return { launcher: null }
    }
    const launcher = `by-hand-${randomUUID()}`
    await this.#client.workflow.start(type, {
      workflowId: launcher,
      taskQueue: TASK_QUEUE,
      args: [{ app, ...input }],
    })
    return { launcher }
  }

  /** By hand, to its good end. */
  async execute(type: OperationType, app: string, input: Record<string, unknown> = {}): Promise<void> {
    const { launcher } = await this.begin('temporal', type, app, input)
    await this.#client.workflow.getHandle(launcher as string).result()
  }

  async terminate(app: string): Promise<void> {
    await this.#client.workflow.getHandle(appWorkflowId(app)).terminate('crash test')
  }

  /**
   * Returns when the workflow has seen it, not only the server: while its worker is busy with a transaction, a cancel
   * waits at the server until the worker shows a sign of life (2.4 s with a workflow task timeout of 3 s).
   */
  async cancel(app: string): Promise<void> {
    // The run that is cancelled, not the one that may follow.
    const { runId } = await this.#client.workflow.getHandle(appWorkflowId(app)).describe()
    const handle = this.#client.workflow.getHandle(appWorkflowId(app), runId)
    await handle.cancel()
    await until(`the workflow of ${app} to see its cancel`, CALL_MS, async () => {
      const { events = [] } = await handle.fetchHistory()
      const asked = events?.findIndex((event) => event.workflowExecutionCancelRequestedEventAttributes != null) ?? -1
      return asked >= 0 && events?.slice(asked).some((event) => event.workflowTaskCompletedEventAttributes != null)
        ? true
        : null
    })
  }

  /** Once neither the operation nor what launched it is open any more. */
  async closed(app: string, launcher: string | null): Promise<void> {
    for (const id of [appWorkflowId(app), ...(launcher === null ? [] : [launcher])])
      await until(`workflow ${id} to close`, CALL_MS, async () => {
        const seen = await this.#client.workflow
          .getHandle(id)
          .describe()
          .catch(() => null)
        return seen !== null && seen.status.name !== 'RUNNING' ? true : null
      })
  }

  /**
   * Asks at once for something that makes no sense in the state the app is in: the refusal must be about that, not
   * about an operation that holds the app.
   */
  async isFree(app: string, desired: 'running' | 'stopped'): Promise<string | null> {
    const senseless = desired === 'running' ? 'start' : 'stop'
    const { status, body } = await this.#platform.stack.api('POST', `/api/2.0/apps/${app}/${senseless}`, {})
    return body?.error_code === 'INVALID_STATE' ? null : `${senseless}: ${status} ${JSON.stringify(body)}`
  }
}

function apiCall(type: OperationType, app: string, input: Record<string, unknown>) {
  switch (type) {
    case 'deploy':
      return {
        method: 'POST',
        path: `/api/2.0/apps/${app}/deployments`,
        body: { source_code_path: input.sourceCodePath },
      }
    case 'start':
    case 'stop':
      return { method: 'POST', path: `/api/2.0/apps/${app}/${type}`, body: {} }
    case 'restart':
      return { method: 'POST', path: `/api/coppice/v1/apps/${app}/restart`, body: {} }
    case 'delete':
      return { method: 'DELETE', path: `/api/2.0/apps/${app}` }
    default:
      return null
  }
}
