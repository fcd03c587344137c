/** `coppice workspace …` and `coppice tokens …`: what admins decide. */
import { type Command, Option } from 'commander'
import { CoppiceError } from '../domain/errors.ts'
import type { TokenAnswer, WorkspaceAnswer } from './api.ts'
import { wholeNumber } from './changes.ts'
import type { Context } from './context.ts'
import { ago, table } from './output.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

const WORKSPACE = '/api/coppice/v1/workspace'
const TOKENS = '/api/coppice/v1/tokens'

type SettingsFlags = { horizontalScaling?: 'on' | 'off'; maxScaledApps?: number; maxInstancesPerApp?: number }

export function workspaceCommands(program: Command, run: Run): void {
  const workspace = program.command('workspace').description('settings for all apps, and what they use in all')

  workspace
    .command('get')
    .description('settings, limits and use')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<WorkspaceAnswer>('GET', WORKSPACE)
        output.result(answer, show(answer))
      }),
    )

  workspace
    .command('set')
    .description('change settings; for admins')
    .addOption(new Option('--horizontal-scaling <state>', 'the preview of scaled apps').choices(['on', 'off']))
    .option('--max-scaled-apps <n>', 'how many apps may be scaled', wholeNumber)
    .option('--max-instances-per-app <n>', 'how many instances an app may have', wholeNumber)
    .action((flags: SettingsFlags, command: Command) =>
      run(command, async ({ api, output }) => {
        const patch = {
          ...(flags.horizontalScaling && { horizontal_scaling: flags.horizontalScaling === 'on' }),
          ...(flags.maxScaledApps !== undefined && { max_scaled_apps: flags.maxScaledApps }),
          ...(flags.maxInstancesPerApp !== undefined && { max_instances_per_app: flags.maxInstancesPerApp }),
        }
        if (Object.keys(patch).length === 0)
          throw new CoppiceError('InvalidInput', 'Say what is to change; --help names the flags')
        const answer = await api.call<WorkspaceAnswer>('PATCH', WORKSPACE, patch)
        output.result(answer, show(answer))
      }),
    )
}

export function tokensCommands(program: Command, run: Run): void {
  const tokens = program
    .command('tokens')
    .description('who may use the platform beside the owner of its data directory')

  tokens
    .command('create <name>')
    .description('print a new token; it is shown this once')
    .addOption(new Option('--role <role>', 'what its holder may do').choices(['user', 'admin']).default('user'))
    .action((name: string, { role }: { role: string }, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<TokenAnswer & { token: string }>('POST', TOKENS, { name, role })
        output.note(`For ${name}, as COPPICE_TOKEN; nobody can show it again:`)
        output.result(answer, [answer.token])
      }),
    )

  tokens
    .command('list')
    .description('their names and roles')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<{ tokens: TokenAnswer[] }>('GET', TOKENS)
        const now = Date.now()
        const rows = answer.tokens.map((one) => [one.name, one.role, ago(one.create_time, now), one.created_by])
        output.result(
          answer.tokens,
          rows.length === 0 ? ['No tokens yet.'] : table(['NAME', 'ROLE', 'MADE', 'BY'], rows),
        )
      }),
    )

  tokens
    .command('delete <name>')
    .description('let it open nothing any more, from now on')
    .action((name: string, _flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<{ name: string }>('DELETE', `${TOKENS}/${encodeURIComponent(name)}`)
        output.result(answer, [`The token of ${name} is deleted.`])
      }),
    )
}

function show({ settings, use, compute_sizes, compute_limits }: WorkspaceAnswer): string[] {
  const sizes = Object.entries(compute_sizes).map(([name, size]) => `${name} ${size.vcpus} vCPU/${size.memory_gb} GB`)
  const row = (label: string, text: string) => `${label.padEnd(20)}${text}`
  return [
    row('horizontal scaling', settings.horizontal_scaling ? 'on (preview)' : 'off (preview)'),
    row('scaled apps', `${use.scaled_apps} of at most ${settings.max_scaled_apps}`),
    row('instances per app', `at most ${settings.max_instances_per_app}`),
    row('running', `${use.instances} instances, ${use.vcpus} vCPU, ${use.memory_gb} GB`),
    row('used so far', `${use.instance_hours} instance-hours, ${use.vcpu_hours} vCPU-hours`),
    row(
      'compute sizes',
      `${sizes.join(', ')} (${compute_limits === 'advisory' ? 'advisory: nothing enforces them here' : 'enforced'})`,
    ),
  ]
}
