/** `coppice`: the command line of the platform. Reads flags, calls the API, says what happens. */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import picocolors from 'picocolors'
import { appsCommands } from './apps.ts'
import { artifactsCommands } from './artifacts.ts'
import { type Context, Interrupted, openContext, type Surroundings } from './context.ts'
import { tellFailure } from './failure.ts'
import { loadtestCommand } from './loadtest.ts'
import { operationsCommands } from './operations.ts'
import { Output } from './output.ts'
import { Exited, platformCommands } from './platform.ts'
import { routersCommands } from './routers.ts'
import { tokensCommands, workspaceCommands } from './workspace.ts'

const HELP = `
Exit codes: 0 done · 1 an operation failed or was cancelled · 2 wrong command line or input · 3 the platform, or the
part of it that is needed, does not answer · 4 the platform refused (unknown, taken, busy, limit) · 130 Ctrl-C while
waiting: the operation goes on.

A first app: coppice up, then in the folder of the app: coppice apps deploy NAME`

/** @returns the exit code */
export async function runCli(argv: string[], surroundings: Surroundings): Promise<number> {
  const { streams, color } = surroundings
  const program = new Command('coppice')
    .description('Runs one web app as several instances behind one URL.')
    .option('--home <dir>', 'data directory (COPPICE_HOME; default: .coppice in the clone)')
    .option('--api-url <url>', 'where the API is (COPPICE_API_URL; default: what runs on the data directory)')
    .option(
      '--token <token>',
      'its token (COPPICE_TOKEN, which other users of the machine cannot see; default: the file "token" in the data directory)',
    )
    .addOption(new Option('-o, --output <form>', 'form of the result').choices(['text', 'json']).default('text'))
    .addHelpText('after', HELP)
    .showHelpAfterError('(coppice --help tells what there is)')
    .configureOutput({
      writeOut: (text) => streams.stdout.write(text),
      writeErr: (text) => streams.stderr.write(text),
    })
    .exitOverride()

  const run = async (command: Command, action: (context: Context) => Promise<void>): Promise<void> => {
    const context = openContext(command, surroundings)
    try {
      await action(context)
    } finally {
      await context.api.close()
    }
  }
  appsCommands(program, run)
  operationsCommands(program, run)
  workspaceCommands(program, run)
  tokensCommands(program, run)
  artifactsCommands(program, run)
  routersCommands(program, run)
  platformCommands(program, run)
  loadtestCommand(program, run)
  for (const command of everyCommand(program)) command.exitOverride().copyInheritedSettings(program)

  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof Interrupted || error instanceof Exited) return error.exitCode
    const { exitCode, lines, json } = tellFailure(error)
    const output = new Output(streams, { json: program.opts<{ output: string }>().output === 'json', color })
    if (output.json) output.result(json, [])
    // Commander has written its own message.
    else if (!(error as Error).constructor.name.startsWith('Commander')) output.error(lines)
    return exitCode
  }
}

function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...everyCommand(child as Command)])
}

if (process.argv[1] !== undefined && isThis(process.argv[1])) {
  const code = await runCli(process.argv.slice(2), {
    env: process.env,
    streams: process,
    stdin: process.stdin,
    color: picocolors.isColorSupported && process.stderr.isTTY === true,
  })
  process.exit(code)
}

/** Started by `coppice.mjs` or directly, not imported by a test. */
function isThis(started: string): boolean {
  const path = realpathSync(started)
  return path === fileURLToPath(import.meta.url) || path === fileURLToPath(new URL('coppice.mjs', import.meta.url))
}
