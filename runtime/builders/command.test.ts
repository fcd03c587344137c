import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { CoppiceError } from '../../domain/errors.ts'
import { removeTree } from '../artifacts/trees.ts'
import { controlGroup } from '../providers/process/control-group.ts'
import { askCommand, type CommandOptions, runCommand } from './command.ts'
import { isGone } from './testing.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-command-'))
})
afterEach(() => removeTree(home))

function options(patch: Partial<CommandOptions> = {}): CommandOptions {
  return {
    cwd: home,
    env: { PATH: '/usr/bin:/bin' },
    signal: new AbortController().signal,
    log: () => undefined,
    name: 'the command',
    spawn,
    box: { prefix: [], homeId: 'test', folder: realpathSync(home) },
    ...patch,
  }
}
const sh = (script: string, patch?: Partial<CommandOptions>) => runCommand(['/bin/sh', '-c', script], options(patch))

/** A program that notes its pid and never ends, neither by itself nor by a polite signal. */
const STUBBORN = 'trap "" TERM INT HUP; echo $$ > pid; while :; do sleep 1; done'

async function pidIn(directory: string): Promise<number> {
  return vi.waitFor(
    () => {
      const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'))
      expect(pid).toBeGreaterThan(0)
      return pid
    },
    { timeout: 9000 },
  )
}

function canGroup(): boolean {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  const group = controlGroup('test-builds', `probe-${process.pid}`)
  try {
    group?.take(child.pid ?? 0)
    return group?.is(/^0::(.*)$/m.exec(readFileSync(`/proc/${child.pid}/cgroup`, 'utf8'))?.[1] ?? '') === true
  } catch {
    return false
  } finally {
    child.kill('SIGKILL')
    child.once('exit', () => group?.remove())
  }
}

describe('a command', () => {
  it('gives its output as lines, without colours and overwritten progress', async () => {
    const lines: string[] = []
    const script = 'printf "\\033[31mred\\033[0m\\n10%%\\r50%%\\r100%%\\n\\n"; echo wrong >&2; printf "no newline"'
    await sh(script, { log: (line) => lines.push(line) })
    expect(lines.sort()).toEqual(['100%', 'no newline', 'red', 'wrong'])
  })

  it('gives its output as text to who asks it', async () => {
    expect(await askCommand(['/bin/sh', '-c', 'echo one; echo two; echo wrong >&2'], options())).toBe('one\ntwo\n')
  })

  it('R14.4 whose answer has no end is ended', async () => {
    await expect(askCommand(['yes'], options())).rejects.toMatchObject({
      code: 'BuildFailed',
      message: 'the command does not stop answering',
    })
  })

  it('R14.4 may print more than a text can be long, and none of it stays in memory', async () => {
    const before = process.memoryUsage().rss
    await sh('head -c 600000000 /dev/zero | tr "\\0" x')
    expect(process.memoryUsage().rss - before).toBeLessThan(300_000_000)
  }, 60_000)

  it('R14.4 may print lines of nothing but CR, and nothing stands still for it', async () => {
    const lines: string[] = []
    const line = `head -c 60000 /dev/zero | tr "\\0" "\\r"; printf "x\\n"`
    await sh(`for i in 1 2 3 4 5 6 7 8 9; do ${line}; done`, { log: (line) => lines.push(line) })
    expect(lines).toEqual(Array(9).fill('x'))
  })

  it('R14.4 that prints without end leaves everything else its turn, and is ended when it is aborted', async () => {
    const controller = new AbortController()
    let lines = 0
    let atLastTurn = 0
    let mostInATurn = 0
    const turn = () => {
      mostInATurn = Math.max(mostInATurn, lines - atLastTurn)
      atLastTurn = lines
      if (lines > 400_000) controller.abort(new Error('cancelled'))
      if (!controller.signal.aborted) setImmediate(turn)
    }
    turn()
    const running = runCommand(['yes'], options({ signal: controller.signal, log: () => lines++ }))
    await expect(running).rejects.toThrow('cancelled')
    // What a pipe holds.
    expect(mostInATurn).toBeLessThanOrEqual(2 * 65_536)
  }, 60_000)

  it('that fails throws BuildFailed with its last 20 lines', async () => {
    const error: CoppiceError = await sh('for i in $(seq 30); do echo line $i; done; exit 3').then(
      () => expect.unreachable(),
      (error) => error,
    )
    expect(error).toBeInstanceOf(CoppiceError)
    expect(error.code).toBe('BuildFailed')
    expect(error.message).toBe('the command ended with exit code 3')
    expect(error.details.logLines).toHaveLength(20)
    expect(error.details.logLines?.at(-1)).toBe('line 30')
  })

  it('R12.8 that fails because the disk is full says so', async () => {
    await expect(sh('echo "cp: No space left on device"; exit 1')).rejects.toMatchObject({ code: 'DiskFull' })
  })

  it('R12.8 without a free descriptor says so, and leaves the worker alive', async () => {
    const script = join(home, 'worker.ts')
    writeFileSync(
      script,
      `import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { askCommand, runCommand } from ${JSON.stringify(join(import.meta.dirname, 'command.ts'))}
const options = {
  cwd: '/', env: { PATH: '/usr/bin:/bin' }, signal: new AbortController().signal,
  log: () => undefined, name: 'x', spawn, box: { prefix: [], homeId: 'test', folder: null },
}
const run = async () => {
  await runCommand(['true'], options)
  return askCommand(['echo', 'well again'], options)
}
await run()
const taken = []
// Until there is none for some turns: what a child had is closed only then.
const takeAll = async () => {
  for (let calm = 0; calm < 10; ) {
    const before = taken.length
    try { for (;;) taken.push(openSync('/dev/null')) } catch {}
    calm = taken.length === before ? calm + 1 : 0
    await new Promise(setImmediate)
  }
}
const say = (words) => process.stdout.write(JSON.stringify(words) + '\\n')
await takeAll()
for (const room of [0, 2, 4]) {
  for (let i = 0; i < room; i++) closeSync(taken.pop())
  say(await run().catch((error) => [error.code, error.message]))
  await takeAll()
}
for (const one of taken) closeSync(one)
say(await run())`,
    )
    const worker = spawn('/bin/sh', ['-c', 'ulimit -n 100; exec "$@"', 'sh', process.execPath, script])
    const [said, complaints] = await Promise.all([text(worker.stdout), text(worker.stderr)])
    const none =
      /^\["Unavailable","could not start a process: no file descriptor is left in this process: spawn .*EMFILE"\]$/
    expect(complaints).toBe('')
    expect(said.trim().split('\n')).toEqual([...Array(3).fill(expect.stringMatching(none)), '"well again\\n"'])
  })

  it('leaves nothing of its group behind when it ends', async () => {
    await sh(`(${STUBBORN}) >/dev/null 2>&1 & while [ ! -s pid ]; do sleep 0.01; done`)
    const pid = await pidIn(home)
    await vi.waitFor(() => expect(isGone(pid)).toBe(true))
  })

  it('ends at once, with everything it started, when it is aborted', async () => {
    const controller = new AbortController()
    const running = sh(`(${STUBBORN}) & wait`, { signal: controller.signal })
    const pid = await pidIn(home)
    controller.abort(new Error('cancelled'))
    await expect(running).rejects.toThrow('cancelled')
    await vi.waitFor(() => expect(isGone(pid)).toBe(true))
  })

  describe.each([
    ['a session of its own', 'setsid sh "$0"'],
    ['an empty environment', 'setsid env -i PATH=/usr/bin:/bin sh "$0"'],
    // The kernel keeps it in its control group, where we may make one.
    ...(canGroup()
      ? [['an empty environment and another directory', 'setsid env -i PATH=/usr/bin:/bin sh -c "cd /; . $0"']]
      : []),
  ] as Array<[string, string]>)('R13.8 that leaves a daemon with its output, in %s,', (_, start) => {
    const leave = `(${start} &) & while [ ! -s pid ]; do sleep 0.01; done`
    beforeEach(() => writeFileSync(join(home, 'daemon'), STUBBORN.replace('> pid', `> ${home}/pid`)))

    it('ends when its own process has, and ends the daemon', async () => {
      const running = askCommand(['/bin/sh', '-c', `${leave}; echo done`, join(home, 'daemon')], options())
      const pid = await pidIn(home)
      expect(await running).toBe('done\n')
      expect(isGone(pid)).toBe(true)
    })

    it('ends at once, with the daemon, when it is aborted', async () => {
      const controller = new AbortController()
      const command = ['/bin/sh', '-c', `${leave}; exec sleep 600`, join(home, 'daemon')]
      const running = runCommand(command, options({ signal: controller.signal }))
      const pid = await pidIn(home)
      controller.abort(new Error('cancelled'))
      await expect(running).rejects.toThrow('cancelled')
      expect(isGone(pid)).toBe(true)
    })
  })

  it('R10.2 ends when the process that wanted it is killed with SIGKILL', async () => {
    const script = join(home, 'worker.ts')
    writeFileSync(
      script,
      `import { spawn } from 'node:child_process'
import { runCommand } from ${JSON.stringify(join(import.meta.dirname, 'command.ts'))}
await runCommand(['/bin/sh', '-c', ${JSON.stringify(STUBBORN)}], {
  cwd: ${JSON.stringify(home)}, env: { PATH: '/usr/bin:/bin' }, signal: new AbortController().signal,
  log: () => undefined, name: 'x', spawn, box: { prefix: [], homeId: 'test', folder: null },
})`,
    )
    const worker = spawn(process.execPath, [script], { stdio: 'ignore' })
    const pid = await pidIn(home)
    expect(isGone(pid)).toBe(false)
    worker.kill('SIGKILL')
    await vi.waitFor(() => expect(isGone(pid)).toBe(true), { timeout: 5000 })
  })
})
