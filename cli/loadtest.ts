/** `coppice loadtest`: the load tests against an app that is deployed already. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Command } from 'commander'
import { CoppiceError } from '../domain/errors.ts'
import type { Context } from './context.ts'
import { EXIT } from './failure.ts'
import { Exited } from './platform.ts'
import { ROOT } from './settings.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

type Flags = {
  rate?: string
  duration?: string
  seed?: string
  out?: string
  env?: string[]
  quick?: boolean
  yes?: boolean
}

/** Passed on to `loadtest/run.ts`, which checks them. */
const PASSED_ON = ['rate', 'duration', 'seed', 'out'] as const

export function loadtestCommand(program: Command, run: Run): void {
  program
    .command('loadtest <app> <scenario...>')
    .description('verify under load that an app keeps its promises; kills its instances and deploys it again')
    .option('--quick', 'shorter and gentler')
    .option('--rate <n>', 'requests a second')
    .option('--duration <time>', 'at least so long, e.g. 90s')
    .option('--seed <n>', 'of an earlier run: same traffic, same victims')
    .option('--out <dir>', 'folder of the results')
    .option('-e, --env <name=value...>', 'settings of the scripts, e.g. APP_PATH=/home, INSTANCE_AT=header:X-Instance')
    .option('--yes', 'it may be disturbed: scenarios other than affinity need this')
    .action((app: string, scenarios: string[], flags: Flags, command: Command) =>
      run(command, async ({ settings, api }) => {
        // Before anything is killed: the name has to be one, and that of the app that was meant.
        await api.call('GET', `/api/2.0/apps/${encodeURIComponent(app)}`)
        if (!flags.yes && scenarios.some((scenario) => scenario !== 'affinity')) {
          throw new CoppiceError(
            'InvalidInput',
            `--yes is missing: ${scenarios.join(', ')} kills instances of ${app}, or deploys it again, while people may use it`,
            { field: 'yes' },
          )
        }
        const given = PASSED_ON.flatMap((name) => (flags[name] === undefined ? [] : [`--${name}`, flags[name]]))
        const args = [...scenarios, '--app', app, '--api-url', settings.apiUrl, ...given]
        for (const setting of flags.env ?? []) args.push('-e', setting)
        if (flags.quick) args.push('--quick')
        // In the environment, where other users of the machine cannot see it.
        await runLoadtest(args, { ...process.env, COPPICE_TOKEN: settings.token ?? '' })
      }),
    )
}

/** In the foreground; Ctrl-C is its own to answer. */
function runLoadtest(args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'loadtest', 'run.ts'), ...args], { stdio: 'inherit', env })
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
