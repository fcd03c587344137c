import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freePorts } from '../../scripts/stack/ports.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { until } from '../helpers/platform.ts'

/** Everything that is written there fails as on a full disk, and it needs no right to make one. */
const FULL = '/dev/full'

let home: string
const started: ChildProcess[] = []
let temporal: Server
/** Attempts of the worker to reach Temporal; each leaves a line in its log. */
let attempts = 0

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-full-'))
  attempts = 0
  temporal = createServer((socket) => {
    attempts++
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(temporal, 'listening')
})
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  temporal.close()
  await removeTree(home)
})

const answers = (url: string, wanted: number) => () =>
  fetch(url).then(
    async (answer) => {
      await answer.arrayBuffer()
      return answer.status === wanted ? true : null
    },
    () => null,
  )

/** Starts a process of the platform whose output goes to `out`. */
function start(program: string, args: string[], env: NodeJS.ProcessEnv, out: number | 'pipe'): ChildProcess {
  const child = spawn(process.execPath, [join(ROOT, program, 'main.ts'), ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, COPPICE_HOME: home, ...env },
    stdio: ['ignore', out, out],
  })
  started.push(child)
  return child
}

/** Each with more than one line to say before it is asked whether it serves. */
async function startAll(program: 'control' | 'router' | 'worker', out: number | 'pipe') {
  const [port] = (await freePorts(1)) as [number]
  const { port: nowhere } = temporal.address() as { port: number }
  switch (program) {
    case 'control': {
      const args = ['--api-listen', `127.0.0.1:${port}`, '--temporal-address', `127.0.0.1:${nowhere}`]
      const child = start(program, args, {}, out)
      return { child, serves: answers(`http://127.0.0.1:${port}/healthz`, 200) }
    }
    case 'router': {
      await writeFile(join(home, 'routes.json'), JSON.stringify({ inventory: 'x', version: 1, apps: [] }))
      const files = ['--routes', join(home, 'routes.json'), '--state-dir', join(home, 'router')]
      const child = start(program, ['--listen', `127.0.0.1:${port}`, ...files], {}, out)
      // Of each answer there is a line too.
      return { child, serves: answers(`http://127.0.0.1:${port}/`, 404) }
    }
    case 'worker': {
      const env = { COPPICE_TEMPORAL_ADDRESS: `127.0.0.1:${nowhere}`, COPPICE_READY_FILE: join(home, 'worker.ready') }
      return { child: start(program, [], env, out), serves: async () => (attempts >= 4 ? true : null) }
    }
  }
}

describe.each(['control', 'router', 'worker'] as const)(
  'R12.8 the %s process whose log cannot be written',
  (program) => {
    async function livesAndEnds(out: number | 'pipe', disturb: (child: ChildProcess) => void = () => {}) {
      const { child, serves } = await startAll(program, out)
      disturb(child)
      const ended = once(child, 'exit')
      await until(`the ${program} to serve`, 60_000, async () => {
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended with ${child.exitCode}`)
        return serves()
      })
      for (let more = 0; more < 3; more++) await until(`the ${program} to go on`, 30_000, serves)
      child.kill('SIGTERM')
      expect(await ended).toEqual([0, null])
    }

    it('because the disk is full serves, lives on, and ends when it is told to', async () => {
      await livesAndEnds(openSync(FULL, 'w'))
    })

    it('because nobody is there any more to read it serves, lives on, and ends when it is told to', async () => {
      await livesAndEnds('pipe', (child) => {
        child.stdout?.destroy()
        child.stderr?.destroy()
      })
    })
  },
)
