import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, relative } from 'node:path'
import pc from 'picocolors'
import { homePaths, ROOT, type StackOptions } from '../stack-options.ts'
import { resolveTool } from '../toolchain/resolve.ts'
import { EXAMPLE, type Reached } from './example-app.ts'

/** What `npm start` prints once everything runs. */
export async function summary(options: StackOptions, example: Reached | null, attached: boolean): Promise<string> {
  const paths = homePaths(options.home)
  const short = (path: string) => {
    const near = relative(process.cwd(), path)
    return near.startsWith('..') ? path : near
  }
  const api = `http://127.0.0.1:${options.apiPort}`
  const temporal = options.temporalAddress ?? `127.0.0.1:${options.temporalPort}`
  const rows: [string, string][] = [
    ...appRows(example),
    ['API', `${api}  ${pc.dim(`token in ${short(paths.token)}`)}`],
    ['Temporal', temporal],
    ...temporalUiRow(options),
    ['Logs', short(paths.logs)],
  ]
  const address = temporal === '127.0.0.1:7233' ? '' : ` --address ${temporal}`
  // The command line finds what runs by the data directory.
  const home = options.home === join(ROOT, '.coppice') ? '' : ` --home ${short(options.home)}`
  const commands: [string, string][] = [
    [`curl ${example?.urls[0] ?? api}`, 'again and again: each browser sticks to an instance, curl does not'],
    [`npx coppice${home} apps deploy my-app --source ../my-folder`, 'deploy a folder of yours'],
    [`${await temporalProgram()} workflow list${address}`, 'the operations as Temporal sees them'],
  ]
  const width = Math.max(...commands.map(([command]) => command.length))
  return [
    '',
    pc.bold(attached ? 'Attached to the Coppice that runs here.' : 'Coppice runs.'),
    '',
    ...rows.map(([name, value]) => `  ${name.padEnd(12)} ${value}`),
    '',
    'Try next:',
    ...commands.map(([command, what]) => `  ${command.padEnd(width)}  ${pc.dim(what)}`),
    '',
    'Apps run as processes of this user: deploy only code that you trust.',
    attached ? 'Ctrl-C leaves it running.' : 'Ctrl-C stops everything; the apps come back with the next "npm start".',
    '',
  ].join('\n')
}

/** As it can be typed: by its name where that is on the PATH. */
async function temporalProgram(): Promise<string> {
  const onPath = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'temporal')))
  if (onPath) return 'temporal'
  const { path } = await resolveTool('temporal').catch(() => ({ path: 'temporal' }))
  return path.startsWith(`${homedir()}/`) ? `~${path.slice(homedir().length)}` : path
}

function temporalUiRow({ temporalAddress, temporalUi, uiPort }: StackOptions): [string, string][] {
  if (temporalAddress !== null || !temporalUi) return []
  return [['Temporal UI', `http://127.0.0.1:${uiPort}`]]
}

function appRows(example: Reached | null): [string, string][] {
  if (example === null) return []
  const [first, ...others] = example.urls
  const { app_status, compute_status } = example.app
  const running = app_status.running_instances ?? 0
  const instances = running === 1 ? 'one instance' : `${running} instances behind one URL`
  const state = compute_status.state === 'STOPPED' ? 'stopped' : instances
  return [
    ['App', `${pc.bold(first ?? '')}  ${pc.dim(`${EXAMPLE.app}: ${state}`)}`],
    ...others.map((url): [string, string] => ['', url]),
    ...(example.answers || compute_status.state === 'STOPPED'
      ? []
      : [['', pc.yellow(app_status.message)] as [string, string]]),
  ]
}
