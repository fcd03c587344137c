/** `coppice apps …` */
import { lookup } from 'node:dns/promises'
import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { CoppiceError } from '../domain/errors.ts'
import type { AppAnswer, DeploymentAnswer, InstanceAnswer } from './api.ts'
import { type Context, waitFor } from './context.ts'
import { ago, type Output, table } from './output.ts'
import { packSource } from './pack.ts'

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
        const all: AppAnswer[] = []
        let token: string | undefined
        do {
          const query = token === undefined ? '' : `?page_token=${encodeURIComponent(token)}`
          const page = await api.call<{ apps: AppAnswer[]; next_page_token?: string }>('GET', `/api/2.0/apps${query}`)
          all.push(...page.apps)
          token = page.next_page_token
        } while (token !== undefined)
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
    )
    .option('--health-path <path>', 'path that answers below 400 when the app is well')
    .option('--health-timeout <seconds>', 'how long a new instance may take to become healthy', seconds)
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

type DeployFlags = {
  source?: string
  sourceCodePath?: string
  instances?: number
  env: string[]
  healthPath?: string
  healthTimeout?: number
  wait: boolean
}

async function deploy(context: Context, name: string, flags: DeployFlags): Promise<void> {
  const { api, output } = context
  const path = `/api/2.0/apps/${encodeURIComponent(name)}`
  // Everything that can be wrong here is found before anything is created.
  const folder = flags.sourceCodePath === undefined ? existingFolder(flags.source ?? '.') : null
  const envVars = flags.env.map((text) => envVar(text, context.env))
  const existing = await api.find<AppAnswer>(path)
  const has = existing?.compute_min_instances ?? 1
  if (existing !== null && flags.instances !== undefined && flags.instances !== has)
    throw new CoppiceError(
      'InvalidInput',
      `--instances: ${name} has ${has}; a deployment does not change their number`,
      {
        field: 'instances',
      },
    )
  const source =
    folder === null ? { source_code_path: flags.sourceCodePath } : { source_digest: await upload(context, folder) }
  if (existing === null) {
    const app = await api.call<AppAnswer>('POST', '/api/2.0/apps', newApp(name, flags))
    output.note(`${output.colors.green('✓')} Created ${describe(app)}`)
  }
  const deployment = await api.call<DeploymentAnswer>('POST', `${path}/deployments`, {
    ...source,
    ...(envVars.length > 0 && { env_vars: envVars }),
    ...((flags.healthPath !== undefined || flags.healthTimeout !== undefined) && {
      health_check: {
        ...(flags.healthPath !== undefined && { path: flags.healthPath }),
        ...(flags.healthTimeout !== undefined && { timeout: `${flags.healthTimeout}s` }),
      },
    }),
  })
  const operation = { id: deployment.operation, words: `deployment of ${name}` }
  if ((await waitFor(context, operation, flags)) === null) return output.result(deployment, [])
  const app = await api.call<AppAnswer>('GET', path)
  output.note(`${output.colors.green('✓')} ${name} runs on ${instances(app.app_status.running_instances)}:`)
  output.result(app, [await reachableUrl(app)])
}

async function upload({ api, output }: Context, folder: string): Promise<string> {
  output.status(`… Uploading ${folder}`)
  const { digest, files, bytes } = await api.upload(packSource(folder))
  const size = bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`
  output.note(`${output.colors.green('✓')} Uploaded ${folder} ${output.colors.dim(`(${files} files, ${size})`)}`)
  return digest
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

async function showApp({ api, output }: Context, name: string): Promise<void> {
  const path = encodeURIComponent(name)
  const app = await api.call<AppAnswer>('GET', `/api/2.0/apps/${path}`)
  const { instances: present } = await api.call<{ instances: InstanceAnswer[] }>(
    'GET',
    `/api/coppice/v1/apps/${path}/instances`,
  )
  const { app_deployments } = await api.call<{ app_deployments: DeploymentAnswer[] }>(
    'GET',
    `/api/2.0/apps/${path}/deployments?page_size=5`,
  )
  const now = Date.now()
  const row = (label: string, text: string) => `${output.colors.dim(label.padEnd(12))}${text}`
  output.result({ ...app, instances: present, deployments: app_deployments }, [
    row('name', app.name),
    ...(app.description === '' ? [] : [row('description', app.description)]),
    row('url', app.urls.join('  ')),
    row('mode', describe(app)),
    row('compute', `${app.compute_status.state}: ${app.compute_status.message}`),
    row('app', `${app.app_status.state}: ${app.app_status.message}`),
    ...(app.operation === undefined
      ? []
      : [row('operation', `${app.operation} runs; coppice operations watch ${app.operation}`)]),
    ...(present.length === 0
      ? []
      : [
          '',
          ...table(
            ['SLOT', 'INSTANCE', 'STATE', 'ROLE', 'ADDRESS', 'STARTED', ''],
            present.map((one) => [
              String(one.slot),
              one.id,
              one.state,
              one.role,
              one.address ?? '',
              one.start_time === undefined ? '' : ago(one.start_time, now),
              one.message ?? '',
            ]),
          ),
        ]),
    ...(app_deployments.length === 0
      ? []
      : [
          '',
          ...table(
            ['DEPLOYMENT', 'STATE', 'WHEN', 'MESSAGE'],
            app_deployments.map((one) => [
              one.deployment_id,
              one.status.state,
              ago(one.create_time, now),
              one.status.message.split('\n')[0] ?? '',
            ]),
          ),
        ]),
  ])
}

async function showLogs(
  { api, output }: Context,
  name: string,
  flags: { instance?: string; lines: number; follow?: boolean },
): Promise<void> {
  const query = new URLSearchParams({ lines: String(flags.lines), ...(flags.instance && { instance: flags.instance }) })
  const path = `/api/coppice/v1/apps/${encodeURIComponent(name)}/logs?${query}`
  if (flags.follow) {
    const stop = new AbortController()
    process.once('SIGINT', () => stop.abort())
    for await (const { data } of api.events(`${path}&follow=true`, { signal: stop.signal })) {
      const { instance, line } = data as { instance: string; line: string }
      output.line(
        output.json ? JSON.stringify(data) : logLine(output, flags.instance === undefined ? instance : null, line),
      )
    }
    return
  }
  const answer = await api.call<{ instances: Array<{ instance: string; lines: string[] }> }>('GET', path)
  const several = answer.instances.length > 1
  const lines = answer.instances.flatMap((one) =>
    one.lines.map((line) => logLine(output, several ? one.instance : null, line)),
  )
  output.result(answer.instances, lines)
  if (lines.length === 0) output.note(`No instance of ${name} has written anything yet.`)
}

const logLine = (output: Output, instance: string | null, line: string): string =>
  instance === null ? line : `${output.colors.cyan(instance)} ${line}`

const newApp = (name: string, flags: { instances?: number; description?: string }) => ({
  name,
  ...(flags.description !== undefined && { description: flags.description }),
  ...(flags.instances !== undefined && {
    compute_min_instances: flags.instances,
    compute_max_instances: flags.instances,
  }),
})

const instances = (count: number): string => `${count} instance${count === 1 ? '' : 's'}`

const describe = (app: AppAnswer): string =>
  app.mode === 'scaled'
    ? `${app.name}, a scaled app with ${instances(app.compute_min_instances ?? 1)}`
    : `${app.name}, a standard app`

/** Names under `.localhost` resolve in browsers and curl, not everywhere else (DESIGN D13). */
async function reachableUrl(app: AppAnswer): Promise<string> {
  for (const url of app.urls) if (await lookup(new URL(url).hostname).catch(() => null)) return url
  return app.url
}

function existingFolder(path: string): string {
  const folder = resolve(path)
  if (existsSync(folder) && statSync(folder).isDirectory()) return folder
  throw new CoppiceError('InvalidInput', `--source: there is no folder ${folder}`, { field: 'source' })
}

function envVar(text: string, env: NodeJS.ProcessEnv): { name: string; value: string } {
  const at = text.indexOf('=')
  if (at > 0) return { name: text.slice(0, at), value: text.slice(at + 1) }
  const value = env[text]
  if (at === 0 || value === undefined)
    throw new CoppiceError('InvalidInput', `--env ${text}: write NAME=VALUE, or a NAME that is set here`, {
      field: 'env',
    })
  return { name: text, value }
}

const collect = (value: string, previous: string[]): string[] => [...previous, value]

function wholeNumber(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It takes a whole number.')
  return Number(text)
}

function seconds(text: string): number {
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text) || Number(text) === 0)
    throw new InvalidArgumentError('It takes seconds, e.g. 90.')
  return Number(text)
}
