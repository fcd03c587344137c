/** `coppice apps …` */
import { type Command, Option } from 'commander'
import type { AppAnswer } from './api.ts'
import { describe, reachableUrl, showApp } from './app-text.ts'
import { changeCommands, wholeNumber } from './changes.ts'
import { type Context, waitFor } from './context.ts'
import { type DeployFlags, deploy, newApp } from './deploy.ts'
import { withHealthFlags } from './health-flags.ts'
import { showLogs } from './logs.ts'
import { table } from './output.ts'
import { secretsCommands } from './secrets.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

const NO_WAIT = ['--no-wait', 'return as soon as it has started'] as const

export function appsCommands(program: Command, run: Run): void {
  const apps = program.command('apps').description('create, deploy and look after apps')

  apps
    .command('create <name>')
    .description('create an app; it runs once it is deployed')
    .addOption(
      new Option('--instances <n>', 'a scaled app with that many instances')
        .argParser(wholeNumber)
        .conflicts('standard'),
    )
    .option('--standard', 'a standard app: exactly one instance (the default)')
    .option('--description <text>', 'what it is for')
    .option('--no-compute', 'create it stopped')
    .action((name: string, flags: { instances?: number; description?: string; compute: boolean }, command: Command) =>
      run(command, async ({ api, output }) => {
        const query = flags.compute ? '' : '?no_compute=true'
        const app = await api.call<AppAnswer>('POST', `/api/2.0/apps${query}`, newApp(name, flags))
        output.result(app, [`Created ${describe(app)}.`])
        if (app.compute_status.message.includes('recommended')) output.note(app.compute_status.message)
        output.note(
          flags.compute
            ? `Deploy it: coppice apps deploy ${name} --source DIR`
            : `Start it, then deploy it: coppice apps start ${name}`,
        )
      }),
    )

  apps
    .command('list')
    .description('all apps')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const all = await api.list<AppAnswer>('/api/2.0/apps', 'apps')
        const rows = all.map((app) => [
          app.name,
          app.compute_status.state,
          app.app_status.state,
          `${app.app_status.running_instances}/${app.compute_min_instances ?? 1}`,
          app.mode,
          app.url,
        ])
        output.result(
          all,
          rows.length === 0
            ? ['No apps yet. Deploy a folder: coppice apps deploy NAME --source DIR']
            : table(['NAME', 'COMPUTE', 'APP', 'RUNNING', 'MODE', 'URL'], rows),
        )
      }),
    )

  apps
    .command('get <name>')
    .description('one app, its instances and its latest deployments')
    .action((name: string, _flags: unknown, command: Command) => run(command, (context) => showApp(context, name)))

  apps
    .command('url <name>')
    .description('the URL that works on this machine')
    .option('--all', 'every URL of the app')
    .action((name: string, flags: { all?: boolean }, command: Command) =>
      run(command, async ({ api, output }) => {
        const app = await api.call<AppAnswer>('GET', `/api/2.0/apps/${encodeURIComponent(name)}`)
        const url = await reachableUrl(app)
        output.result(flags.all ? { urls: app.urls } : { url }, flags.all ? app.urls : [url])
      }),
    )

  withHealthFlags(
    apps
      .command('deploy <name>')
      .description('deploy a folder; creates the app if there is none of that name')
      .option('--source <dir>', 'the folder to upload (.gitignore is honoured); default: the current one')
      .addOption(
        new Option('--source-code-path <path>', 'a folder on the platform, under one of its source roots').conflicts(
          'source',
        ),
      )
      .option('--instances <n>', 'a new app is a scaled one with that many instances', wholeNumber)
      .option(
        '--env <name=value>',
        'environment variable; without "=" the value is taken from here (repeatable)',
        collect,
        [],
      ),
  )
    .option(...NO_WAIT)
    .action((name: string, flags: DeployFlags, command: Command) =>
      run(command, (context) => deploy(context, name, flags)),
    )

  for (const [type, words] of [
    ['start', 'start an app with the deployment it had last'],
    ['stop', 'stop an app; its URL answers that it is stopped'],
    ['restart', 'replace all instances, without an interruption'],
    ['delete', 'stop an app and remove it with its deployments'],
  ] as const)
    apps
      .command(`${type} <name>`)
      .description(words)
      .option(...NO_WAIT)
      .action((name: string, flags: { wait: boolean }, command: Command) =>
        run(command, (context) => operate(context, name, type, flags)),
      )

  changeCommands(apps, run)
  secretsCommands(apps, run)

  apps
    .command('logs <name>')
    .description('what the instances of an app wrote')
    .option('--instance <id>', 'only this instance, by id or slot')
    .option('--lines <n>', 'how many of the last lines', wholeNumber, 100)
    .option('-f, --follow', 'go on with what is written from now on')
    .action((name: string, flags: { instance?: string; lines: number; follow?: boolean }, command: Command) =>
      run(command, (context) => showLogs(context, name, flags)),
    )
}

async function operate(
  context: Context,
  name: string,
  type: 'start' | 'stop' | 'restart' | 'delete',
  flags: { wait: boolean },
): Promise<void> {
  const { api, output } = context
  const app = `/api/2.0/apps/${encodeURIComponent(name)}`
  const started =
    type === 'delete'
      ? await api.call<AppAnswer>('DELETE', app)
      : type === 'restart'
        ? await api.call<AppAnswer>('POST', `/api/coppice/v1/apps/${encodeURIComponent(name)}/restart`)
        : await api.call<AppAnswer>('POST', `${app}/${type}`)
  const operation = await waitFor(context, { id: started.operation ?? '', words: `${type} of ${name}` }, flags)
  if (operation === null) return output.result(started, [])
  if (type === 'delete') return output.result(operation, [`${name} is deleted.`])
  const now = await api.call<AppAnswer>('GET', app)
  output.result(now, [`${name} is ${now.compute_status.state}, ${now.app_status.message}`])
}

const collect = (value: string, previous: string[]): string[] => [...previous, value]
