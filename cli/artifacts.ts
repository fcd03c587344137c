/** `coppice artifacts …`: what builds have left. */
import { type Command, InvalidArgumentError } from 'commander'
import type { Context } from './context.ts'
import { EXIT } from './failure.ts'
import { ago, table } from './output.ts'
import { Exited } from './platform.ts'

type Run = (command: Command, action: (context: Context) => Promise<void>) => Promise<void>

type ArtifactAnswer = {
  key: string
  kind: string | null
  bytes: number
  use_time: string
  pinned: boolean
  unread: string | null
}
type Failed = { key: string; reason: string }
type PruneAnswer = { removed: string[]; kept: number; stuck: Failed[] }
type ScrubAnswer = { checked: number; damaged: string[]; unchecked: Failed[] }

const PATH = '/api/coppice/v1/artifacts'
const UNIT_SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const

export function artifactsCommands(program: Command, run: Run): void {
  const artifacts = program.command('artifacts').description('what builds have left: artifacts, layers, sources')

  artifacts
    .command('list')
    .description('all of them, the last used first')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const { artifacts: all } = await api.call<{ artifacts: ArtifactAnswer[] }>('GET', PATH)
        const now = Date.now()
        const rows = all.map((one) => [
          one.key.slice(0, 20),
          one.kind ?? 'unknown',
          size(one.bytes),
          ago(one.use_time, now),
          [one.pinned && 'needed', one.unread && `cannot be read: ${one.unread}`].filter(Boolean).join('; '),
        ])
        const sum = all.reduce((bytes, one) => bytes + one.bytes, 0)
        output.result(
          all,
          rows.length === 0
            ? ['Nothing has been built yet.']
            : [...table(['KEY', 'KIND', 'SIZE', 'USED', ''], rows), `${rows.length} in all, ${size(sum)}`],
        )
      }),
    )

  artifacts
    .command('prune')
    .description('remove what nothing needs; for admins')
    .option('--older-than <time>', 'and nobody has used for so long, e.g. 30m, 12h, 7d; 0s for all', seconds, 3600)
    .action((flags: { olderThan: number }, command: Command) =>
      run(command, async ({ api, output }) => {
        const body = { older_than: `${flags.olderThan}s` }
        const answer = await api.call<PruneAnswer>('POST', `${PATH}/prune`, body)
        const rest = answer.stuck.map(({ key, reason }) => `Not removed: ${key} (${reason})`)
        output.result(answer, [`Removed ${answer.removed.length}, kept ${answer.kept}.`, ...rest])
        if (rest.length > 0) throw new Exited(EXIT.failed)
      }),
    )

  artifacts
    .command('scrub')
    .description('read every byte and take out what is damaged; it is built again when it is needed; for admins')
    .action((_flags: unknown, command: Command) =>
      run(command, async ({ api, output }) => {
        const answer = await api.call<ScrubAnswer>('POST', `${PATH}/scrub`)
        const found = answer.damaged.length === 0 ? 'none was damaged' : `taken out: ${answer.damaged.join(', ')}`
        const rest = answer.unchecked.map(({ key, reason }) => `Not checked: ${key} (${reason})`)
        output.result(answer, [`Checked ${answer.checked}; ${found}.`, ...rest])
        if (rest.length > 0) throw new Exited(EXIT.failed)
      }),
    )
}

function size(bytes: number): string {
  if (bytes < 1024 ** 2) return `${Math.ceil(bytes / 1024)} KiB`
  return bytes < 1024 ** 3 ? `${(bytes / 1024 ** 2).toFixed(1)} MiB` : `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

function seconds(text: string): number {
  const match = /^(\d{1,4})([smhd])$/.exec(text)
  // The API takes durations of six digits.
  const value = Number(match?.[1]) * UNIT_SECONDS[(match?.[2] ?? 's') as keyof typeof UNIT_SECONDS]
  if (match === null || value > 999_999) throw new InvalidArgumentError('It takes a time such as 30m, 12h or 7d.')
  return value
}
