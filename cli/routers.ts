/** `coppice routers …`: who carries traffic, and who will not any more. */
import type { Command } from 'commander'
import type { Context } from './context.ts'
import { ago, table } from './output.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

type RouterAnswer = {
  name: string
  address: string
  counted: boolean
  away: boolean
  refused: { reason: string } | null
  version: number
  behind: boolean
  seen_time: string
}

const PATH = '/api/coppice/v1/routers'

export function routersCommands(program: Command, run: Run): void {
  const routers = program.command('routers').description('who carries traffic')

  routers
    .command('list')
    .description('all of them, with the version of the routes that they have')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<{ version: number; routers: RouterAnswer[] }>('GET', PATH)
        const now = Date.now()
        const rows = answer.routers.map((one) => [
          one.name,
          one.address,
          `${one.version} of ${answer.version}`,
          ago(one.seen_time, now),
          stateOf(one),
        ])
        output.result(
          answer.routers,
          rows.length === 0
            ? ['No router has reported yet.']
            : table(['NAME', 'ADDRESS', 'ROUTES', 'SEEN', 'STATE'], rows),
        )
      }),
    )

  routers
    .command('remove <name>')
    .description('forget one that will not come back: ports in the routes that it had can be used again; for admins')
    .action((name: string, _flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        await api.call('DELETE', `${PATH}/${encodeURIComponent(name)}`)
        output.result({ removed: name }, [`Removed ${name}.`])
      }),
    )
}

function stateOf({ counted, away, refused }: RouterAnswer): string {
  if (refused !== null) return `cannot apply the current routes: ${refused.reason}`
  if (counted) return 'in touch'
  return away ? 'signed off' : 'out of touch'
}
