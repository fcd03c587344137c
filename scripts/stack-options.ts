import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { ROUTE_TABLE_FILE } from '../domain/product.ts'
import { freePorts, randomPortRanges } from './stack/ports.ts'

/**
 * What `npm start` can be told, in one place: flag, else variable, else default. Everything else that the processes
 * understand (`COPPICE_…`, see their `options.ts`) reaches them through the environment.
 */
export type StackOptions = {
  /** The data directory: all state lies in it (R14.1). One stack a directory. */
  home: string
  /** Where the apps are reached; change it when 8080 is taken. Of each of the four ports 0 means a free one. */
  port: number
  /** Where the REST API listens, on loopback. */
  apiPort: number
  /** The embedded Temporal server; 7233 is where the `temporal` CLI looks if not told otherwise. */
  temporalPort: number
  /**
   * Whether the embedded server shows its web UI. It asks nobody who they are: everybody who can open a connection to
   * loopback can then start and end operations with a browser, as they can without it with the `temporal` program.
   */
  temporalUi: boolean
  /** Where the UI is shown. */
  uiPort: number
  /** `host:port` of a Temporal server to use instead of the embedded one; null starts that. */
  temporalAddress: string | null
  /** Ports that the instances of apps get, `first-last`; null leaves it to the processes. */
  instancePorts: string | null
  /** Ports on which the router serves one app each, `first-last`; null leaves it to the processes. */
  appPorts: string | null
}

export const ROOT = resolve(import.meta.dirname, '..')

/** A switch takes no value as a flag, and `on` or `off` as a variable. */
type Row = { flag: string; variable: string; fallback: string; help: string; switch?: true }

export const STACK_ROWS = {
  home: { flag: 'home', variable: 'COPPICE_HOME', fallback: '.coppice', help: 'data directory' },
  port: { flag: 'port', variable: 'COPPICE_PORT', fallback: '8080', help: 'port of the apps (router)' },
  apiPort: { flag: 'api-port', variable: 'COPPICE_API_PORT', fallback: '7400', help: 'port of the REST API' },
  temporalPort: {
    flag: 'temporal-port',
    variable: 'COPPICE_TEMPORAL_PORT',
    fallback: '7233',
    help: 'port of the embedded Temporal server',
  },
  temporalUi: {
    flag: 'temporal-ui',
    variable: 'COPPICE_TEMPORAL_UI',
    fallback: 'off',
    help: 'show the UI of the embedded Temporal server',
    switch: true,
  },
  uiPort: { flag: 'ui-port', variable: 'COPPICE_UI_PORT', fallback: '8233', help: 'port of the Temporal UI' },
  temporalAddress: {
    flag: 'temporal-address',
    variable: 'COPPICE_TEMPORAL_ADDRESS',
    fallback: '',
    help: 'host:port of a Temporal server to use instead of the embedded one',
  },
  instancePorts: {
    flag: 'instance-ports',
    variable: 'COPPICE_INSTANCE_PORTS',
    fallback: '',
    help: 'ports that instances get, first-last',
  },
  appPorts: {
    flag: 'app-ports',
    variable: 'COPPICE_APP_PORTS',
    fallback: '',
    help: 'ports on which the router serves one app each, first-last',
  },
} as const satisfies Record<keyof StackOptions, Row>

/** Flags of `npm start` that are not settings of the stack. */
export const START_FLAGS = {
  check: { type: 'boolean', help: 'prove at free ports, in a data directory of its own, that all of it works' },
  help: { type: 'boolean', help: 'show this' },
} as const

export type StartFlags = { [name in keyof typeof START_FLAGS]: boolean }

/** @throws CoppiceError InvalidInput with the flag as its field */
export function resolveStackOptions(
  argv: string[],
  env: NodeJS.ProcessEnv,
): { options: StackOptions; flags: StartFlags } {
  const rows = Object.values(STACK_ROWS) as Row[]
  const settings = Object.fromEntries(
    rows.map((row) => [row.flag, { type: row.switch ? ('boolean' as const) : ('string' as const) }]),
  )
  const switches = Object.fromEntries(Object.keys(START_FLAGS).map((name) => [name, { type: 'boolean' as const }]))
  let values: Record<string, string | boolean | undefined>
  try {
    values = parseArgs({ args: argv, options: { ...settings, ...switches } }).values
  } catch (error) {
    throw new CoppiceError('InvalidInput', `${(error as Error).message}. All flags: npm start -- --help`)
  }
  const text = (row: Row): string => String(values[row.flag] ?? (env[row.variable] || row.fallback))
  if (text(STACK_ROWS.temporalAddress) !== '' && isOn(STACK_ROWS.temporalUi, text(STACK_ROWS.temporalUi)))
    throw new CoppiceError(
      'InvalidInput',
      '--temporal-ui (COPPICE_TEMPORAL_UI): is of the embedded Temporal server, and --temporal-address names another one',
      { field: STACK_ROWS.temporalUi.flag },
    )
  const { home, port, apiPort, temporalPort, temporalUi, uiPort, temporalAddress, instancePorts, appPorts } = STACK_ROWS
  return {
    options: {
      home: resolve(ROOT, text(home)),
      port: portNumber(port, text(port)),
      apiPort: portNumber(apiPort, text(apiPort)),
      temporalPort: portNumber(temporalPort, text(temporalPort)),
      temporalUi: isOn(temporalUi, text(temporalUi)),
      uiPort: portNumber(uiPort, text(uiPort)),
      temporalAddress: text(temporalAddress) || null,
      instancePorts: text(instancePorts) || null,
      appPorts: text(appPorts) || null,
    },
    flags: { check: values.check === true, help: values.help === true },
  }
}

/** Ports that nobody else has, for a stack of a test beside others. */
export async function freeStackOptions(home: string): Promise<StackOptions> {
  const [port, apiPort, temporalPort, uiPort] = (await freePorts(4)) as [number, number, number, number]
  const embedded = { temporalPort, temporalUi: false, uiPort, temporalAddress: null }
  return { home, port, apiPort, ...embedded, ...randomPortRanges() }
}

/**
 * The options with a free port for each that is 0, and a line about each. What a killed starter left running (`left`)
 * has ports that were free for it, and can be adopted only there.
 */
export async function withFreePorts(
  options: StackOptions,
  left: StackOptions | null,
): Promise<{ options: StackOptions; lines: string[] }> {
  const used = [
    'port',
    'apiPort',
    ...(options.temporalAddress === null ? ['temporalPort' as const] : []),
    ...(options.temporalUi ? ['uiPort' as const] : []),
  ] as const
  const open = used.filter((name) => options[name] === 0)
  const free = await freePorts(open.length)
  const chosen = Object.fromEntries(open.map((name, at) => [name, left?.[name] || free[at]]))
  const lines = open.map((name) => `--${STACK_ROWS[name].flag} 0: the ${STACK_ROWS[name].help} is ${chosen[name]}`)
  return { options: { ...options, ...chosen }, lines }
}

export function helpText(): string {
  const settings = (Object.values(STACK_ROWS) as Row[]).map((row) => {
    const shown = row.fallback === '' ? '' : ` (${row.fallback})`
    return `  --${row.flag}${row.switch ? '' : ' …'}`.padEnd(24) + row.variable.padEnd(28) + row.help + shown
  })
  const switches = Object.entries(START_FLAGS).map(([name, { help }]) => `  --${name}`.padEnd(52) + help)
  return [
    'npm start -- [flags]',
    '',
    ...switches,
    '',
    `${'  flag'.padEnd(24)}${'variable'.padEnd(28)}what (default)`,
    ...settings,
    '',
    'A port of 0 is a free one, which is told.',
  ].join('\n')
}

/** Where things of a data directory lie. */
export const homePaths = (home: string) => ({
  lock: join(home, 'run', 'start.lock'),
  state: join(home, 'run', 'state.json'),
  token: join(home, 'token'),
  logs: join(home, 'logs'),
  log: (name: string) => join(home, 'logs', `${name}.log`),
  ready: (name: string) => join(home, 'run', `${name}.ready`),
  temporal: join(home, 'temporal'),
  router: join(home, 'router'),
  routerTable: join(home, 'router', ROUTE_TABLE_FILE),
  inventory: join(home, 'inventory.db'),
})

/** A flag that was given reads as `true`. */
function isOn(row: Row, text: string): boolean {
  if (!['on', 'off', 'true'].includes(text))
    throw new CoppiceError('InvalidInput', `${row.variable}: "${text}" is neither on nor off`, { field: row.flag })
  return text !== 'off'
}

function portNumber(row: Row, text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= 65_535) return port
  throw new CoppiceError(
    'InvalidInput',
    `--${row.flag} (${row.variable}): "${text}" is not a port, 1 to 65535, or 0 for a free one`,
    { field: row.flag },
  )
}
