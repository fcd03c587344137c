/** `coppice apps update|resize|convert|rollback|duplicate|sessions|rebalance` */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { CoppiceError } from '../domain/errors.ts'
import type { AppAnswer, RebalanceAnswer, SessionsAnswer, UpdateAnswer } from './api.ts'
import { describe, instances } from './app-text.ts'
import { type Context, waitFor } from './context.ts'
import { type HealthFlags, healthFields, withHealthFlags } from './health-flags.ts'
import { table } from './output.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>
type Waiting = { wait: boolean }
type Trying = { dryRun?: boolean }

const NO_WAIT = ['--no-wait', 'return as soon as it has started'] as const
const DRY_RUN = ['--dry-run', 'tell how many sessions would move, and change nothing'] as const
const SIZE = ['--compute-size <size>', 'MEDIUM or LARGE'] as const

const COUNTS = ['compute_min_instances', 'compute_max_instances']
const counts = (n: number) => ({ compute_min_instances: n, compute_max_instances: n })

const ONE =
  '2 or more instances are recommended: with 1, a crash or a restart of the instance takes the app offline. Next: coppice apps resize'

export function changeCommands(apps: Command, run: Run): void {
  withHealthFlags(
    apps
      .command('update <name>')
      .description('change what an app is: any of the flags together, in one operation at most')
      .option('--description <text>', 'what it is for')
      .option('--instances <n>', 'their number; 1 converts a standard app', wholeNumber)
      .addOption(new Option('--standard', 'convert back to a standard app').conflicts('instances'))
      .option(...SIZE),
  )
    .option('--no-preinstalled', 'build the next deployment without the pre-installed Python libraries; for good')
    .option(...DRY_RUN)
    .option(...NO_WAIT)
    .action((name: string, flags: UpdateFlags, command: Command) =>
      run(command, (context) => change(context, name, 'update', updateOf(flags), flags)),
    )

  apps
    .command('resize <name>')
    .description('change the number of instances, their size, or both; the app keeps serving')
    .option('--instances <n>', 'how many', wholeNumber)
    .option(...SIZE)
    .option(...DRY_RUN)
    .option(...NO_WAIT)
    .action((name: string, flags: ResizeFlags, command: Command) =>
      run(command, (context) => change(context, name, 'resize', updateOf({ ...flags, preinstalled: true }), flags)),
    )

  apps
    .command('convert <name>')
    .description('make a standard app a scaled one with one instance, or back; the app keeps serving')
    .addOption(new Option('--to <mode>', 'what it is to become').choices(['scaled', 'standard']).default('scaled'))
    .option(...DRY_RUN)
    .option(...NO_WAIT)
    .action((name: string, flags: { to: 'scaled' | 'standard' } & Trying & Waiting, command: Command) =>
      run(command, async (context) => {
        const { mode } = await context.api.call<AppAnswer>('GET', appPath(name))
        if (mode === flags.to) throw new CoppiceError('InvalidState', `${name} is a ${mode} app already`)
        const app = flags.to === 'scaled' ? counts(1) : {}
        await change(context, name, 'conversion', { mask: COUNTS, app }, flags)
        if (flags.to === 'scaled' && !flags.dryRun) context.output.note(`${ONE} ${name} --instances 2`)
      }),
    )

  apps
    .command('rollback <name>')
    .description('run an earlier deployment again, without a build')
    .option('--deployment <id>', 'which; default: the one before the one that runs (coppice apps get shows them)')
    .option(...NO_WAIT)
    .action((name: string, flags: { deployment?: string } & Waiting, command: Command) =>
      run(command, async (context) => {
        const body = flags.deployment === undefined ? {} : { deployment: flags.deployment }
        const app = await context.api.call<AppAnswer>('POST', `${ownPath(name)}/rollback`, body)
        await finish(context, name, 'rollback', app.operation ?? '', flags)
      }),
    )

  apps
    .command('duplicate <name> <copy>')
    .description('copy configuration and source of an app under a new name, to try things on')
    .option('--with-secrets', 'its secrets, too')
    .option('--start', 'start the copy; it builds nothing')
    .option(...NO_WAIT)
    .action(
      (name: string, copy: string, flags: { withSecrets?: boolean; start?: boolean } & Waiting, command: Command) =>
        run(command, async (context) => {
          const app = await context.api.call<AppAnswer>('POST', `${ownPath(name)}/duplicate`, {
            name: copy,
            with_secrets: flags.withSecrets === true,
            start: flags.start === true,
          })
          if (flags.start) return finish(context, copy, 'start', app.operation ?? '', flags)
          context.output.result(app, [`Created ${describe(app)}, stopped.`])
          context.output.note(`Start it: coppice apps start ${copy}`)
        }),
    )

  apps
    .command('sessions <name>')
    .description('how many sessions each instance has')
    .action((name: string, _flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<SessionsAnswer>('GET', `${ownPath(name)}/sessions`)
        const rows = answer.slots.map((one) => [String(one.slot), one.instance, String(one.sessions)])
        output.result(answer, [...table(['SLOT', 'INSTANCE', 'SESSIONS'], rows), `${answer.sessions} in all`])
      }),
    )

  apps
    .command('rebalance <name>')
    .description('move sessions from instances with more than their share; keys that clients chose stay')
    .option('--status', 'how many the last one has moved so far')
    .action((name: string, flags: { status?: boolean }, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<RebalanceAnswer>(flags.status ? 'GET' : 'POST', `${ownPath(name)}/rebalance`)
        output.result(answer, [
          flags.status
            ? `${answer.moved} of at most ${answer.at_most} sessions of ${name} have moved.`
            : `At most ${answer.at_most} sessions of ${name} move, each with its next request.`,
        ])
        if (!flags.status) output.note(`See how far it is: coppice apps rebalance ${name} --status`)
      }),
    )
}

type ResizeFlags = { instances?: number; computeSize?: string } & Trying & Waiting
type UpdateFlags = ResizeFlags & HealthFlags & { description?: string; standard?: boolean; preinstalled: boolean }
type Update = { mask: string[]; app: Record<string, unknown> }

function updateOf(flags: Omit<UpdateFlags, keyof (Trying & Waiting)>): Update {
  const update: Update = { mask: [], app: {} }
  const add = (fields: string[], values: object) => {
    update.mask.push(...fields)
    Object.assign(update.app, values)
  }
  if (flags.description !== undefined) add(['description'], { description: flags.description })
  if (flags.computeSize !== undefined) add(['compute_size'], { compute_size: flags.computeSize.toUpperCase() })
  if (flags.instances !== undefined) add(COUNTS, counts(flags.instances))
  if (flags.standard) add(COUNTS, {})
  const health = healthFields(flags)
  if (health.length > 0)
    add(
      health.map(([field]) => `health_check.${field}`),
      { health_check: Object.fromEntries(health) },
    )
  if (!flags.preinstalled) add(['compatibility_flags'], { compatibility_flags: [] })
  if (update.mask.length === 0) throw new CoppiceError('InvalidInput', 'Say what is to change; --help names the flags')
  return update
}

/** Asks for an update and waits for its operation, if it takes one. */
async function change(context: Context, name: string, words: string, update: Update, flags: Trying & Waiting) {
  const { api, output } = context
  const path = `${appPath(name)}/update${flags.dryRun ? '?dry_run=true' : ''}`
  const answer = await api.call<UpdateAnswer>('POST', path, { app: update.app, update_mask: update.mask.join(',') })
  if (flags.dryRun) return output.result(answer, foretold(name, answer))
  if (answer.operation === undefined) {
    const app = await api.call<AppAnswer>('GET', appPath(name))
    return output.result(app, [`${describe(app)}: ${answer.status.message}`])
  }
  await finish(context, name, words, answer.operation, flags)
}

async function finish(context: Context, name: string, words: string, id: string, flags: Waiting): Promise<void> {
  const { api, output } = context
  const operation = await waitFor(context, { id, words: `${words} of ${name}` }, flags)
  const app = await api.call<AppAnswer>('GET', appPath(name))
  if (operation === null) return output.result({ ...app, operation: id }, [])
  output.result(app, [`${describe(app)}: ${app.app_status.message}`])
}

function foretold(name: string, { dry_run }: UpdateAnswer): string[] {
  if (dry_run === undefined) return []
  const { sessions, operation, instances: planned } = dry_run
  const moved = `${sessions.moved} of ${sessions.total} sessions would move.`
  if (operation === undefined || planned === undefined) return [`Nothing of ${name} would change. ${moved}`]
  return [
    `A ${operation} of ${name} would start ${instances(planned.add)}, keep ${planned.keep} and stop ${planned.remove}.`,
    moved,
  ]
}

const appPath = (name: string): string => `/api/2.0/apps/${encodeURIComponent(name)}`
const ownPath = (name: string): string => `/api/coppice/v1/apps/${encodeURIComponent(name)}`

export function wholeNumber(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It takes a whole number.')
  return Number(text)
}
