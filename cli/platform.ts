/** `coppice up`, `down`, `backup`, `restore`, `doctor`: the platform itself. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { Context } from './context.ts'
import { type Check, examine } from './doctor.ts'
import { EXIT } from './failure.ts'
import { ROOT } from './settings.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

/** A program that was run for the user and has told everything itself. */
export class Exited extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`exited with ${exitCode}`)
    this.exitCode = exitCode
  }
}

export function platformCommands(program: Command, run: Run): void {
  program
    .command('up')
    .description('start the platform here, until Ctrl-C; attaches to one that runs')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[flags...]', 'flags of "npm start", see coppice up --help')
    .action((flags: string[], _options: unknown, command: Command) =>
      run(command, ({ settings }) => runScript('start.ts', ['--home', settings.home, ...flags])),
    )

  program
    .command('down')
    .description('stop the platform and the instances of all apps; coppice up brings them back')
    .option('--purge', 'remove the data directory too: apps, deployments, logs, everything')
    .action((flags: { purge?: boolean }, command: Command) =>
      run(command, ({ settings, output }) =>
        runScript('down.ts', [
          '--home',
          settings.home,
          ...(flags.purge ? ['--purge'] : []),
          ...(output.json ? ['--quiet'] : []),
        ]),
      ),
    )

  program
    .command('backup [file]')
    .description('copy inventory, keys and the artifacts of kept deployments into one file; the platform may run')
    .action((file: string | undefined, _flags: unknown, command: Command) =>
      run(command, ({ settings }) =>
        runScript('backup.ts', ['--home', settings.home, ...(file === undefined ? [] : ['--', file])]),
      ),
    )

  program
    .command('restore <file>')
    .description('make an empty data directory what it was at the time of a backup')
    .action((file: string, _flags: unknown, command: Command) =>
      run(command, ({ settings }) => runScript('restore.ts', ['--home', settings.home, '--', file])),
    )

  program
    .command('doctor')
    .description('what is wrong, and what to do')
    .action((_flags: unknown, command: Command) =>
      run(command, async (context) => {
        const checks = await examine(context)
        context.output.result({ checks }, show(checks, context))
        if (checks.some((check) => !check.ok)) throw new Exited(EXIT.failed)
      }),
    )
}

function show(checks: Check[], { output }: Context): string[] {
  const { green, red, dim } = output.colors
  const width = Math.max(...checks.map(({ name }) => name.length))
  return checks.flatMap(({ name, ok, message, hint }) => [
    `${ok ? green('✓') : red('✗')} ${name.padEnd(width)}  ${message}`,
    ...(hint === undefined ? [] : [`  ${' '.repeat(width)}  ${dim('→')} ${hint}`]),
  ])
}

/** Runs one of the project's scripts in the foreground, on this Node; Ctrl-C is the script's to answer. */
function runScript(name: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'scripts', name), ...args], { stdio: 'inherit' })
    const ignore = () => {}
    const pass = (signal: NodeJS.Signals) => child.kill(signal)
    process.on('SIGINT', ignore).on('SIGTERM', pass).on('SIGHUP', pass)
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      process.off('SIGINT', ignore).off('SIGTERM', pass).off('SIGHUP', pass)
      if (code === 0) resolve()
      else reject(new Exited(code ?? (signal === 'SIGINT' ? EXIT.interrupted : EXIT.failed)))
    })
  })
}
