/** The real command line against a stack: its own process, as a person would run it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts, randomPortRanges } from '../../scripts/stack/ports.ts'
import type { TestStack } from '../helpers/stack.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', 'cli', 'coppice.mjs')

export type Ran = { code: number | null; out: string; err: string }

export type Running = {
  ended: Promise<Ran>
  signal(name: NodeJS.Signals): void
  /** Resolves once this has been written to either stream. */
  says(text: string): Promise<void>
}

/** Without what the environment of the tests may say about a platform. */
function environment(extra: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('COPPICE_'))
  return { ...Object.fromEntries(own), ...extra }
}

export function coppice(
  args: string[],
  options: { home: string; cwd?: string; env?: NodeJS.ProcessEnv; stdin?: string },
): Running {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: options.cwd,
    env: environment({ COPPICE_HOME: options.home, ...options.env }),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.end(options.stdin ?? '')
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  const ended = once(child, 'close').then(([code]): Ran => ({ code, out, err }))
  return {
    ended,
    signal: (name) => void child.kill(name),
    says: async (text) => {
      while (!`${out}${err}`.includes(text)) {
        const more = Promise.race([once(child.stdout, 'data'), once(child.stderr, 'data'), ended])
        await more
        if (child.exitCode !== null && !`${out}${err}`.includes(text))
          throw new Error(`ended without saying "${text}": ${out}${err}`)
      }
    },
  }
}

export const run = (stack: Pick<TestStack, 'home'>, ...args: string[]): Promise<Ran> =>
  coppice(args, { home: stack.home }).ended

/** `coppice up` in a process of its own, and with its example: what a person would have running. */
export async function startPlatform(given: { home?: string; port?: number } = {}): Promise<{ home: string }> {
  const home = given.home ?? (await mkdtemp(join(tmpdir(), 'coppice-up-')))
  const [free, apiPort, temporalPort, uiPort] = await freePorts(4)
  const port = given.port ?? free
  const { instancePorts, appPorts } = randomPortRanges()
  const flags = Object.entries({ port, 'api-port': apiPort, 'temporal-port': temporalPort, 'ui-port': uiPort })
  const up = coppice(
    [
      'up',
      ...flags.flatMap(([name, value]) => [`--${name}`, `${value}`]),
      '--instance-ports',
      instancePorts,
      '--app-ports',
      appPorts,
    ],
    { home },
  )
  await up.says('Coppice runs')
  return { home }
}
