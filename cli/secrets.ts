/**
 * `coppice apps secrets …`. A value never stands on a command line, where the whole machine can read it (proc(5),
 * cmdline) and the shell keeps it: it comes from stdin, or from a variable.
 */
import { createInterface } from 'node:readline'
import { type Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { CoppiceError } from '../domain/errors.ts'
import { type Context, Interrupted } from './context.ts'
import { ago, table } from './output.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

type Stdin = Readable & { isTTY?: boolean }

const MAX_BYTES = 64 * 1024

export function secretsCommands(apps: Command, run: Run): void {
  const secrets = apps.command('secrets').description('what an app is told in confidence: valueFrom in its app.yaml')

  secrets
    .command('set <app> <secret>')
    .description('set a secret to what is read from stdin; instances have it from their next start on')
    .option('--from-env <variable>', 'take the value of this variable instead')
    .action((app: string, secret: string, flags: { fromEnv?: string }, command: Command) =>
      run(command, async ({ api, output, env, stdin }) => {
        const value = flags.fromEnv === undefined ? await read(stdin, output.note.bind(output)) : env[flags.fromEnv]
        if (value === undefined)
          throw new CoppiceError('InvalidInput', `--from-env: ${flags.fromEnv} is not set here`, { field: 'from-env' })
        const answer = await api.call<{ name: string }>('PUT', `${path(app)}/${encodeURIComponent(secret)}`, { value })
        output.result(answer, [`Secret ${secret} of ${app} is set.`])
        output.note(`Instances have it from their next start on: coppice apps restart ${app}`)
      }),
    )

  secrets
    .command('list <app>')
    .description('their names; the values can be read by the app alone')
    .action((app: string, _flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<{ secrets: Array<{ name: string; update_time: string }> }>('GET', path(app))
        const now = Date.now()
        const rows = answer.secrets.map((one) => [one.name, ago(one.update_time, now)])
        output.result(answer.secrets, rows.length === 0 ? [`${app} has no secrets.`] : table(['SECRET', 'SET'], rows))
      }),
    )

  secrets
    .command('delete <app> <secret>')
    .description('forget a secret; instances that run keep it until they end')
    .option('--force', 'also while a deployment that runs needs it: no instance of that can be started again')
    .action((app: string, secret: string, flags: { force?: true }, command: Command) =>
      run(command, async ({ api, output }) => {
        const query = flags.force ? '?force=true' : ''
        const answer = await api.call<{ name: string }>('DELETE', `${path(app)}/${encodeURIComponent(secret)}${query}`)
        output.result(answer, [`Secret ${secret} of ${app} is deleted.`])
      }),
    )
}

/** All of stdin without the line end that `echo` and editors put there; at a terminal one line, which is not shown. */
async function read(stdin: Stdin, note: (text: string) => void): Promise<string> {
  const value = stdin.isTTY ? await ask(stdin, note) : (await all(stdin)).replace(/\r?\n$/, '')
  if (value === '') throw new CoppiceError('InvalidInput', 'stdin: there is no value', { field: 'value' })
  return value
}

async function ask(stdin: Stdin, note: (text: string) => void): Promise<string> {
  note('The value (it is not shown):')
  // With a terminal of its own readline echoes to where we tell it: nowhere.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const line = createInterface({ input: stdin, output: nowhere, terminal: true })
  return new Promise<string>((resolve, reject) => {
    line.once('line', resolve).once('close', () => resolve(''))
    line.once('SIGINT', () => reject(new Interrupted()))
  }).finally(() => line.close())
}

async function all(stdin: Stdin): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stdin) {
    chunks.push(Buffer.from(chunk))
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new CoppiceError('InvalidInput', 'stdin: a secret may have 64 KiB', { field: 'value' })
  }
  return Buffer.concat(chunks).toString('utf8')
}

const path = (app: string): string => `/api/coppice/v1/apps/${encodeURIComponent(app)}/secrets`
