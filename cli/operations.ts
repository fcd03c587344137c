/** `coppice operations …` */
import type { Command } from 'commander'
import type { OperationAnswer } from './api.ts'
import { type Context, waitFor } from './context.ts'
import { OperationFailed, tellFailure } from './failure.ts'
import { ago, duration, type Output, table } from './output.ts'

/** How many the list shows. */
const LISTED = 50

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

export function operationsCommands(program: Command, run: Run): void {
  const operations = program.command('operations').description('what was done to apps, and what is being done')

  operations
    .command('list')
    .description('the latest operations, newest first')
    .option('--app <name>', 'only those on this app')
    .action((flags: { app?: string }, command: Command) =>
      run(command, async ({ api, output }) => {
        const found = await api.list<OperationAnswer>('/api/coppice/v1/operations', 'operations', {
          most: LISTED,
          query: { ...(flags.app && { app: flags.app }) },
        })
        const now = Date.now()
        output.result(
          found,
          found.length === 0
            ? ['No operations yet.']
            : table(
                ['OPERATION', 'APP', 'TYPE', 'STATE', 'TOOK', 'WHEN', 'BY'],
                found.map((one) => [
                  one.id,
                  one.app,
                  one.type,
                  one.state,
                  took(one, now),
                  ago(one.request_time, now),
                  one.started_by,
                ]),
              ),
        )
      }),
    )

  operations
    .command('get <id>')
    .description('one operation with its steps')
    .action((id: string, _flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const operation = await api.call<OperationAnswer>('GET', path(id))
        output.result(operation, describe(operation, output))
      }),
    )

  operations
    .command('watch <id>')
    .description('show its steps as they happen, until it ends')
    .action((id: string, _flags: unknown, command: Command) =>
      run(command, async (context) => {
        const known = await context.api.call<OperationAnswer>('GET', path(id))
        const words = `${known.type} of ${known.app}`
        const ended = await waitFor(context, { id, words }, { wait: true })
        context.output.result(ended, [`The ${words} succeeded.`])
      }),
    )

  operations
    .command('cancel <id>')
    .description('take an operation back; past its pivot it completes')
    .option('--no-wait', 'return as soon as the cancellation was asked for')
    .action((id: string, flags: { wait: boolean }, command: Command) =>
      run(command, async (context) => {
        const { output } = context
        const operation = await context.api.call<OperationAnswer>('POST', `${path(id)}/cancel`)
        const words = `${operation.type} of ${operation.app}`
        if (!flags.wait) return output.result(operation, [`The ${words} is being cancelled.`])
        output.note(`The ${words} is being cancelled; what it did is taken back.`)
        try {
          const ended = await waitFor(context, { id, words }, { wait: true })
          output.result(ended, [`It was too late: the ${words} had passed its pivot and succeeded.`])
        } catch (error) {
          // A cancelled operation is what was asked for here.
          if (!(error instanceof OperationFailed) || error.operation.state !== 'CANCELLED') throw error
          output.result(error.operation, tellFailure(error).lines)
        }
      }),
    )
}

const path = (id: string): string => `/api/coppice/v1/operations/${encodeURIComponent(id)}`

function describe(operation: OperationAnswer, output: Output): string[] {
  const { dim } = output.colors
  const now = Date.now()
  const lines = [
    `${operation.id}  ${operation.type} of ${operation.app}  ${operation.state}  ${dim(`${took(operation, now)}, ${ago(operation.request_time, now)} by ${operation.started_by}`)}`,
    ...(operation.steps ?? []).map((step) => {
      const time = step.duration_ms === undefined ? '' : duration(step.duration_ms)
      return `  ${step.state.padEnd(8)}${time.padStart(9)}  ${step.words}${step.detail === '' ? '' : dim(`  ${step.detail}`)}`
    }),
  ]
  if (operation.failure === undefined) return lines
  const { lines: failure } = tellFailure(new OperationFailed(operation, operation.failure))
  return [...lines, '', ...failure.filter((line) => !line.startsWith('All steps:'))]
}

const took = (operation: OperationAnswer, now: number): string =>
  duration(
    (operation.end_time === undefined ? now : Date.parse(operation.end_time)) - Date.parse(operation.request_time),
  )
