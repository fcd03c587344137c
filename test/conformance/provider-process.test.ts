import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import type { InstanceSpec } from '../../runtime/contracts.ts'
import { controlGroup } from '../../runtime/providers/process/control-group.ts'
import { CRASH_POINTS, type CrashPoint } from '../../runtime/providers/process/process-provider.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import * as apps from './apps.ts'
import { type Bench, createBench, exited, get, until } from './bench.ts'
import { defineProviderConformance, isRunning } from './provider.ts'

defineProviderConformance('process', () => createBench())

const ID = 'hello-00000001-0'
const table = systemProcessTable()

/**
 * Pids of all processes of the instance in this bench: other runs on the machine have instances of the same id. One
 * in the middle of an exec, or about to be a zombie, is not seen, so what should be there is waited for.
 */
async function marked({ home }: Bench, id = ID): Promise<number[]> {
  const tagged = await table.tagged(['COPPICE_INSTANCE_ID', 'HOME'])
  const ours = tagged.filter(({ values }) => values.HOME === join(home, id, 'home'))
  return ours.map(({ pid }) => pid).filter(isRunning)
}

/** Whether we may make groups of cgroup v2. */
function canGroup(): boolean {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  const group = controlGroup('test', `probe-${process.pid}`)
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

const one = (pids: number[]) => pids.length === 1

/** A worker that started the instance and stands still at the point. */
async function workerAt(root: string, point: CrashPoint, spec: InstanceSpec): Promise<ChildProcess> {
  const args = [join(import.meta.dirname, 'starter.ts'), root, point, JSON.stringify(spec)]
  const worker = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void worker.kill('SIGKILL'))
  const ended = once(worker, 'exit').then(() => Promise.reject(new Error('the worker ended before it got there')))
  ended.catch(() => undefined)
  await Promise.race([once(worker.stdout, 'data'), ended])
  return worker
}

describe('the process provider alone', () => {
  let bench: Bench
  beforeEach(async () => {
    bench = await createBench()
  })
  afterEach(() => bench.close())

  describe.each(CRASH_POINTS)('R10.2 when its worker is killed at "%s" of a start', (point) => {
    it('loses sight of nothing, runs an app only if it is written down, and can start and remove it again', async () => {
      const spec = await bench.spec(apps.wellBehaved)
      const worker = await workerAt(bench.root, point, spec)
      const spawned = point === 'spawned' || point === 'recorded' || point === 'started'
      if (spawned) await until(async () => (await marked(bench)).length === 1)
      worker.kill('SIGKILL')
      await once(worker, 'exit')

      expect(await bench.provider.list()).toEqual([ID])
      if (point === 'started') {
        const seen = await bench.provider.observe(ID)
        expect(seen.state).toBe('running')
        expect(await bench.provider.ensure(spec)).toEqual(seen)
      } else {
        await until(async () => (await marked(bench)).length === 0)
        expect(await bench.provider.logLines(ID, 10)).toEqual([])
        const { state } = await until(
          () => bench.provider.observe(ID),
          (seen) => seen.state !== 'running',
        )
        expect(state).toBe(point === 'recorded' ? 'exited' : 'absent')
      }
      const { address, pid } = await bench.provider.ensure(spec)
      expect(JSON.parse(await get(address)).pid).toBe(pid)
      expect(await until(() => marked(bench), one)).toEqual([pid])
      await bench.provider.remove(ID, { graceMs: 15_000 })
      expect(await marked(bench)).toEqual([])
      expect(readdirSync(bench.home)).toEqual([])
      expect(bench.ports.leases).toEqual({})
    })

    it('removes what is left, without having started it again', async () => {
      const spec = await bench.spec(apps.wellBehaved)
      const worker = await workerAt(bench.root, point, spec)
      worker.kill('SIGKILL')
      await bench.provider.remove(ID, { graceMs: 100 })
      expect(await marked(bench)).toEqual([])
      expect(readdirSync(bench.home)).toEqual([])
      expect(bench.ports.leases).toEqual({})
    })
  })

  it.each([-3_600_000, 3_600_000])(
    'R13.8 gives an app its whole grace and no more when the clock is set by %d ms while it ends',
    async (ms) => {
      let set = 0
      const provider = bench.open({ clock: { ...systemClock, now: () => Date.now() + set } })
      const { address } = await provider.ensure(await bench.spec(apps.hardToEnd))
      await get(address)
      await until(
        () => provider.logLines(ID, 10),
        (lines) => lines.length === 3,
      )
      const begun = performance.now()
      const removed = provider.remove(ID, { graceMs: 400 })
      await until(async () => (await provider.logLines(ID, 10)).includes('not going'))
      set = ms
      await removed
      expect(performance.now() - begun).toBeGreaterThanOrEqual(400)
      expect(await marked(bench)).toEqual([])
    },
  )

  it('R10.2 does not take a process that got the pid of its instance for it, and does not end it', async () => {
    const stranger = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
    await once(stranger, 'spawn')
    try {
      const directory = join(bench.home, ID)
      mkdirSync(directory, { recursive: true })
      const started = { phase: 'started', id: ID, pid: stranger.pid, port: 1, startedAt: Date.now() }
      writeFileSync(join(directory, 'record.json'), JSON.stringify({ ...started, startTime: 'another-boot:1' }))
      expect((await bench.provider.observe(ID)).state).toBe('exited')
      expect(await bench.provider.listeners(ID)).toEqual([])
      await bench.provider.remove(ID, { graceMs: 0 })
      expect(isRunning(stranger.pid ?? 0)).toBe(true)
      expect(readdirSync(bench.home)).toEqual([])
    } finally {
      stranger.kill('SIGKILL')
    }
  })

  it.each([
    ['forward', 3_600_000],
    ['back', -3_600_000],
  ])('R13.8 says when a process started by the clock as it is now, also when that was set %s since', async (_, ms) => {
    let set = 0
    const clock = { ...systemClock, now: () => Date.now() + set }
    const provider = bench.open({ clock })
    const { startedAt, ...running } = await provider.ensure(await bench.spec(apps.wellBehaved))
    expect(await provider.observe(ID)).toEqual({ startedAt, ...running })
    set = ms
    for (const worker of [provider, bench.open({ clock })]) {
      const { startedAt: now, ...seen } = (await worker.observe(ID)) as { startedAt: number }
      expect(seen).toEqual(running)
      expect(Math.abs(now - startedAt - ms)).toBeLessThan(1_000)
    }
  })

  it('takes a zombie for dead, though it still answers signals', async () => {
    // The shell becomes a sleep that never waits for the child it had before.
    const parent = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 600'], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      const pid = Number(String((await once(parent.stdout, 'data'))[0]))
      const row = await until(
        () => table.row(pid),
        (found) => found?.zombie === true,
      )
      expect(process.kill(pid, 0)).toBe(true)
      mkdirSync(join(bench.home, ID), { recursive: true })
      const record = { phase: 'started', id: ID, pid, startTime: row?.startTime, port: 1, startedAt: Date.now() }
      writeFileSync(join(bench.home, ID, 'record.json'), JSON.stringify(record))
      expect((await bench.provider.observe(ID)).state).toBe('exited')
      await bench.provider.remove(ID, { graceMs: 0 })
      expect(await bench.provider.list()).toEqual([])
    } finally {
      parent.kill('SIGKILL')
    }
  })

  it('R10.2 treats a record that was half written as none, and still finds the process', async () => {
    const spec = await bench.spec(apps.wellBehaved)
    const { pid, address } = await bench.provider.ensure(spec)
    await get(address)
    writeFileSync(join(bench.home, ID, 'record.json'), '{"phase":"star')
    const next = bench.open()
    expect(await next.observe(ID)).toEqual({ state: 'absent' })
    expect(await next.list()).toEqual([ID])
    const again = await next.ensure(spec)
    expect(isRunning(pid)).toBe(false)
    expect(await until(() => marked(bench), one)).toEqual([again.pid])
  })

  describe.each([
    ['named pipes', (path: string) => execFileSync('mkfifo', [path])],
    ['directories', (path: string) => mkdirSync(path)],
  ])('R13.8 of an app that puts %s in the place of its record and its log', (_, put) => {
    const replace = () => {
      for (const path of [join(bench.home, ID, 'record.json'), join(bench.root, 'logs', `${ID}.log`)]) {
        rmSync(path)
        put(path)
      }
    }

    it('the process is still known, and is ended and removed', async () => {
      const { pid, address } = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
      await get(address)
      replace()
      expect(await bench.provider.observe(ID)).toMatchObject({ state: 'running', pid })
      expect(await bench.provider.logLines(ID, 10)).toEqual([])
      expect(await bench.provider.remove(ID, { graceMs: 15_000 })).toEqual({ left: null })
      expect(isRunning(pid)).toBe(false)
      expect(await bench.provider.list()).toEqual([])
    })

    it('a worker that comes later starts it anew, and leaves nothing of the old one running', async () => {
      const spec = await bench.spec(apps.wellBehaved)
      const { pid, address } = await bench.provider.ensure(spec)
      await get(address)
      replace()
      const next = bench.open()
      expect(await next.observe(ID)).toEqual({ state: 'absent' })
      const again = await next.ensure(spec)
      expect(isRunning(pid)).toBe(false)
      expect(JSON.parse(await get(again.address)).pid).toBe(again.pid)
      replace()
      expect(await bench.open().remove(ID, { graceMs: 15_000 })).toEqual({ left: null })
      expect(isRunning(again.pid)).toBe(false)
    })
  })

  it('R13.8 an instance that locks its directory away is known as running, and is removed', async () => {
    const { pid, address } = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
    await get(address)
    chmodSync(join(bench.home, ID), 0)
    expect(await bench.provider.observe(ID)).toMatchObject({ state: 'running', pid })
    expect(await bench.open().remove(ID, { graceMs: 15_000 })).toEqual({ left: null })
    expect(isRunning(pid)).toBe(false)
  })

  it('finds an instance whose directory is gone, by the mark of its process', async () => {
    const { pid, address } = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
    await get(address)
    execFileSync('rm', ['-rf', join(bench.home, ID)])
    const next = bench.open()
    expect(await next.list()).toEqual([ID])
    await next.remove(ID, { graceMs: 15_000 })
    expect(isRunning(pid)).toBe(false)
    expect(await next.list()).toEqual([])
  })

  it('R14.3 finds its instances by their marks when the folder of all of them was removed, and starts them anew', async () => {
    const spec = await bench.spec(apps.wellBehaved)
    const { pid, address } = await bench.provider.ensure(spec)
    await get(address)
    execFileSync('rm', ['-rf', bench.home])
    expect(await bench.provider.observe(ID)).toEqual({ state: 'absent' })
    for (const provider of [bench.provider, bench.open()]) expect(await provider.list()).toEqual([ID])
    const again = await bench.provider.ensure(spec)
    expect(isRunning(pid)).toBe(false)
    expect(JSON.parse(await get(again.address)).cwd).toBe(join(bench.home, ID, 'work'))
    execFileSync('rm', ['-rf', bench.home])
    await bench.open().remove(ID, { graceMs: 15_000 })
    expect(isRunning(again.pid)).toBe(false)
  })

  it('R14.1 leaves the instances of another data directory alone, also of the same id, and of a copy of its own', async () => {
    const other = await createBench()
    try {
      const mine = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
      const theirs = await other.provider.ensure(await other.spec(apps.wellBehaved))
      cpSync(bench.home, join(bench.root, 'copy'), { recursive: true })
      const copy = bench.open({ home: join(bench.root, 'copy'), homeId: 'copy' })
      execFileSync('rm', ['-rf', join(bench.root, 'copy', ID)])
      expect(await copy.list()).toEqual([])
      await copy.remove(ID, { graceMs: 0 })
      await other.provider.remove(ID, { graceMs: 0 })
      expect(isRunning(theirs.pid)).toBe(false)
      expect(isRunning(mine.pid)).toBe(true)
      await get(mine.address)
    } finally {
      await other.close()
    }
  })

  it('ends what an app left behind when it crashed, before it is started again', async () => {
    const leaves = `
      import { spawn } from 'node:child_process'
      spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
      spawn('sleep', ['600'], { stdio: 'ignore' })
      setTimeout(() => process.exit(1), 100)`
    const spec = await bench.spec(leaves)
    await bench.provider.ensure(spec)
    await exited(bench.provider, ID)
    await until(async () => (await marked(bench)).length === 2)
    const { pid } = await bench.provider.ensure({ ...spec, command: ['sleep', '600'] })
    expect(await until(() => marked(bench), one)).toEqual([pid])
  })

  it('ends children that wiped their environment, as long as they stay in the group, also when the app is gone', async () => {
    const wipes = `
      import { spawn } from 'node:child_process'
      const child = spawn('env', ['-i', 'sleep', '600'], { stdio: 'ignore' })
      child.once('spawn', () => setTimeout(() => { console.log(child.pid); process.exit(1) }, 100))`
    await bench.provider.ensure(await bench.spec(wipes))
    await exited(bench.provider, ID)
    const child = Number((await bench.provider.logLines(ID, 1))[0])
    await until(async () => (await marked(bench)).length === 0)
    expect(isRunning(child)).toBe(true)
    await bench.provider.remove(ID, { graceMs: 0 })
    expect(isRunning(child)).toBe(false)
  })

  describe.each([
    ['works in its directory', ''],
    // The kernel keeps it in its control group, where we may make one.
    ...(canGroup() ? [['works elsewhere', 'cd /; ']] : []),
  ] as Array<[string, string]>)(
    'a daemon that wiped its environment and left its group and its parent, but %s,',
    (_, go) => {
      const daemonizes = (then: string) => `
      import { spawn } from 'node:child_process'
      const daemon = "${go}exec sleep 600"
      const child = spawn('sh', ['-c', 'setsid env -i /bin/sh -c "$0" & echo $!', daemon], { stdio: ['ignore', 'pipe', 'inherit'] })
      child.stdout.once('data', (pid) => { console.log(String(pid).trim()); ${then} })
      setInterval(() => {}, 1000)`
      const daemonOf = async () => {
        const [line] = await until(
          () => bench.provider.logLines(ID, 1),
          (seen) => seen.length === 1,
        )
        // setsid forks where it leads a group; whoever runs the command is told by it.
        return until(
          () => table.row(Number(line)),
          (row) => row !== null,
        ).then((row) => row?.pid as number)
      }

      it('R10.2 is ended with the instance', async () => {
        await bench.provider.ensure(await bench.spec(daemonizes('')))
        const pid = await daemonOf()
        await bench.provider.remove(ID, { graceMs: 0 })
        expect(isRunning(pid)).toBe(false)
      })

      it('R10.2 is ended before the instance is started again, and seen by a worker that comes later', async () => {
        const spec = await bench.spec(daemonizes('process.exit(1)'))
        await bench.provider.ensure(spec)
        await exited(bench.provider, ID)
        const pid = await daemonOf()
        execFileSync('rm', ['-rf', join(bench.home, ID)])
        const next = bench.open()
        expect(await next.list()).toEqual([ID])
        await next.ensure({ ...spec, command: ['sleep', '600'] })
        expect(isRunning(pid)).toBe(false)
      })
    },
  )

  it('R3.7 the environment of an app begins behind the gate: nothing before it loads what the app names, and no argument shows it', async () => {
    const value = `it's "quoted", \\ and $HOME\nin two lines; \u00e9`
    const source = `
      import { readFileSync } from 'node:fs'
      console.log(JSON.stringify({ value: process.env.VALUE, env: readFileSync('/proc/self/environ', 'utf8').includes('COPPICE_INSTANCE_ID=') }))
      setInterval(() => {}, 1000)`
    const preload = join(bench.root, 'not-there.so')
    const spec = await bench.spec(source)
    let arguments_ = ''
    const provider = bench.open({
      crashPoint: async (point) => {
        if (point !== 'recorded') return
        const [pid] = await marked(bench)
        arguments_ = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8')
      },
    })
    await provider.ensure({
      ...spec,
      env: { ...spec.env, VALUE: value, LD_PRELOAD: preload, UID: '5', PS4: '$(touch x)' },
    })
    const lines = await until(
      () => provider.logLines(ID, 9),
      (seen) => seen.some((line) => line.startsWith('{')),
    )
    // The loader complains once for each program into which it should have loaded it: once, for the app itself.
    expect(lines.filter((line) => line.includes('not-there.so'))).toHaveLength(1)
    expect(JSON.parse(lines.at(-1) ?? '')).toEqual({ value, env: true })
    expect(arguments_).toContain(ID)
    expect(arguments_).not.toContain('not-there.so')
    expect(arguments_).not.toContain('quoted')
  })

  it('ends an instance that is stopped by a signal, within its grace', async () => {
    const { pid, address } = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
    await get(address)
    process.kill(pid, 'SIGSTOP')
    await bench.provider.remove(ID, { graceMs: 15_000 })
    expect(await bench.provider.logLines(ID, 1)).toEqual(['got SIGTERM'])
  })

  describe('R12.2 of what is stopped by a signal', () => {
    const isSuspended = async () => {
      const seen = await bench.provider.observe(ID)
      return seen.state === 'running' && seen.suspended
    }
    /** Every process that was started before was seen by then as it is now. */
    const twoLooks = async () => {
      const witness = { ...(await bench.spec(apps.wellBehaved)), id: 'witness-00000001-0' }
      const running = await bench.provider.ensure(witness)
      for (const [name, suspended] of [['SIGSTOP', true] as const, ['SIGCONT', false] as const]) {
        process.kill(running.pid, name)
        await until(
          () => bench.provider.observe(witness.id),
          (seen) => seen.state === 'running' && seen.suspended === suspended,
        )
      }
      await bench.provider.remove(witness.id, { graceMs: 0 })
    }
    const childOf = async () =>
      Number(
        (
          await until(
            () => bench.provider.logLines(ID, 1),
            ([line]) => /child/.test(line ?? ''),
          )
        )[0]?.split(' ')[1],
      )

    it('a server below a shell is suspended, though its shell goes on forking; a shell that is stopped alone changes nothing', async () => {
      const spec = await bench.spec(apps.wellBehaved, {
        command: ['sh', '-c', `'${process.execPath}' app.mjs & while sleep 0.02; do :; done`],
      })
      const running = await bench.provider.ensure(spec)
      const { pid } = JSON.parse(await get(running.address))
      expect(pid).not.toBe(running.pid)
      process.kill(running.pid, 'SIGSTOP')
      await twoLooks()
      expect(await isSuspended()).toBe(false)
      process.kill(running.pid, 'SIGCONT')
      process.kill(pid, 'SIGSTOP')
      await until(isSuspended)
      process.kill(pid, 'SIGCONT')
      await until(async () => !(await isSuspended()))
      await get(running.address)
    })

    it('a parent whose workers accept from its socket is not suspended without them, nor they without it', async () => {
      const { pid, address } = await bench.provider.ensure(await bench.spec(apps.forksWorker))
      await get(address)
      const child = await childOf()
      for (const [stopped, going] of [
        [pid, child],
        [child, pid],
      ] as const) {
        process.kill(stopped, 'SIGSTOP')
        await twoLooks()
        expect(await isSuspended()).toBe(false)
        process.kill(going, 'SIGSTOP')
        await until(isSuspended)
        process.kill(going, 'SIGCONT')
        await until(async () => !(await isSuspended()))
        process.kill(stopped, 'SIGCONT')
      }
    })

    it('whoever is stopped and let go on many times a second, as by a tracer, is not suspended', async () => {
      const { pid, address } = await bench.provider.ensure(await bench.spec(apps.wellBehaved))
      await get(address)
      const told: string[] = []
      bench.provider.onChange((id) => told.push(id))
      let times = 0
      const tracer = setInterval(() => {
        process.kill(pid, 'SIGCONT')
        setTimeout(() => process.kill(pid, 'SIGSTOP'), 2)
        times++
      }, 20)
      await until(() => times >= 100)
      clearInterval(tracer)
      expect(told).toEqual([])
      await until(isSuspended)
    })

    it('a helper that has nothing to do with the socket suspends nobody, nor one that is stopped before anybody listens', async () => {
      const helper = `
        import { spawn } from 'node:child_process'
        import { createServer } from 'node:http'
        console.log('child ' + spawn('sleep', ['600'], { stdio: 'ignore' }).pid)
        setTimeout(() => createServer((_, response) => response.end()).listen(process.env.PORT, '0.0.0.0'), 500)`
      const { address } = await bench.provider.ensure(await bench.spec(helper))
      process.kill(await childOf(), 'SIGSTOP')
      await twoLooks()
      expect(await isSuspended()).toBe(false)
      await get(address)
      await twoLooks()
      expect(await isSuspended()).toBe(false)
    })

    it.each([
      ['that its launcher started in a session of its own', 'setsid "$0" app.mjs & exec sleep 600'],
      ['that lost its parent as well', '(setsid "$0" app.mjs &); exec sleep 600'],
    ])('a server %s serves on while its launcher is stopped, and is suspended with it', async (_, script) => {
      const command = ['sh', '-c', script, process.execPath]
      const running = await bench.provider.ensure(await bench.spec(apps.wellBehaved, { command }))
      const { pid } = JSON.parse(await get(running.address))
      process.kill(running.pid, 'SIGSTOP')
      await twoLooks()
      expect(await isSuspended()).toBe(false)
      process.kill(pid, 'SIGSTOP')
      await until(isSuspended)
      process.kill(pid, 'SIGCONT')
      await until(async () => !(await isSuspended()))
    })
  })

  it('R1.5 gives the app a writable copy of a sealed artifact, with links into layers, and takes all of it away', async () => {
    const layer = await bench.artifact({ 'left-pad/index.js': 'module.exports = 1' })
    const artifactPath = await bench.artifact({
      'app.mjs': `
        import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
        appendFileSync('static/page.html', ' changed')
        writeFileSync('static/new.html', '')
        mkdirSync('closed/deep', { recursive: true })
        writeFileSync('closed/deep/file', '')
        chmodSync('closed/deep', 0)
        chmodSync('closed', 0)
        console.log(readFileSync('node_modules/left-pad/index.js', 'utf8'))
        setInterval(() => {}, 1000)`,
      'static/page.html': 'sealed',
      'bin/tool': '#!/bin/sh',
    })
    chmodSync(join(artifactPath, 'bin/tool'), 0o555)
    chmodSync(join(artifactPath, 'static/page.html'), 0o444)
    chmodSync(join(artifactPath, 'static'), 0o555)
    await bench.provider.ensure(await bench.spec('', { artifactPath, links: { node_modules: layer } }))
    await until(async () => (await bench.provider.logLines(ID, 1))[0] === 'module.exports = 1')
    const work = join(bench.home, ID, 'work')
    expect(readFileSync(join(work, 'static/page.html'), 'utf8')).toBe('sealed changed')
    expect(statSync(join(work, 'bin/tool')).mode & 0o777).toBe(0o755)
    expect(readFileSync(join(artifactPath, 'static/page.html'), 'utf8')).toBe('sealed')
    await bench.provider.remove(ID, { graceMs: 0 })
    expect(existsSync(join(bench.home, ID))).toBe(false)
    expect(existsSync(join(layer, 'left-pad/index.js'))).toBe(true)
  })

  it('R4.1 an app cannot write into its installed packages, whoever it runs as', async () => {
    const layer = await bench.artifact({ 'left-pad/index.js': 'sealed' })
    chmodSync(join(layer, 'left-pad/index.js'), 0o444)
    chmodSync(join(layer, 'left-pad'), 0o555)
    const source = `
      import { readFileSync, writeFileSync } from 'node:fs'
      for (const file of ['index.js', 'new.js']) {
        try { writeFileSync('node_modules/left-pad/' + file, 'changed'); console.log('wrote') } catch (error) { console.log(error.code) }
      }
      console.log(/CapEff:\\s*(\\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
      setInterval(() => {}, 1000)`
    await bench.provider.ensure(await bench.spec(source, { links: { node_modules: layer } }))
    const lines = await until(
      () => bench.provider.logLines(ID, 3),
      (seen) => seen.length === 3,
    )
    expect(lines).toEqual(['EACCES', 'EACCES', '0000000000000000'])
    expect(readFileSync(join(layer, 'left-pad/index.js'), 'utf8')).toBe('sealed')
  })

  it('R1.6 R14.4 bounds the log of an app that writes without end, while it writes', async () => {
    const provider = bench.open({ maxLogBytes: 100_000, logIntervalMs: 20 })
    const noisy = `
      import { writeSync } from 'node:fs'
      let line = 0
      setInterval(() => { for (let i = 0; i < 20; i++) writeSync(1, 'line ' + line++ + ' ' + 'x'.repeat(100) + '\\n') }, 2)`
    await provider.ensure(await bench.spec(noisy))
    const log = join(bench.root, 'logs', `${ID}.log`)
    await until(() => existsSync(`${log}.1`))
    const number = async () => Number((await provider.logLines(ID, 1))[0]?.split(' ')[1])
    const seen = await number()
    await until(async () => (await number()) > seen + 5_000)
    // Bounds of what was written between two looks on a loaded machine, far below what was written in all.
    expect(statSync(`${log}.1`).size).toBeLessThanOrEqual(200_000)
  })

  it('R14.4 bounds the log of an instance that is gone, whatever it wrote while nobody looked', async () => {
    bench.provider.close()
    const flood = `for (let i = 0; i < 3_000; i++) console.log('line ' + i + ' ' + 'x'.repeat(100))`
    const nobodyLooks = bench.open({ logIntervalMs: 600_000 })
    await nobodyLooks.ensure(await bench.spec(flood))
    await exited(nobodyLooks, ID)
    await nobodyLooks.remove(ID, { graceMs: 0 })
    const log = join(bench.root, 'logs', `${ID}.log`)
    expect(statSync(log).size).toBeGreaterThan(300_000)
    const next = bench.open({ maxLogBytes: 100_000, logIntervalMs: 20 })
    await until(() => statSync(log).size === 0)
    expect(statSync(`${log}.1`).size).toBeLessThanOrEqual(200_000)
    expect((await next.logLines(ID, 1))[0]).toMatch(/^line 2999 /)
  })

  it('R14.4 bounds and prunes all logs, also those behind one that cannot be rotated', async () => {
    const logs = join(bench.root, 'logs')
    mkdirSync(logs, { recursive: true })
    // Its drafts and older logs would have names that no file can have.
    const stuck = `${'a'.repeat(245)}.log`
    for (const name of [stuck, 'b.log']) writeFileSync(join(logs, name), `${'x'.repeat(1_000)}\n`)
    // Not to be rotated, which would make it young.
    writeFileSync(join(logs, 'old.log'), 'x')
    utimesSync(join(logs, 'old.log'), new Date(0), new Date(0))
    bench.open({ maxLogBytes: 100, logIntervalMs: 20 })
    await until(() => statSync(join(logs, 'b.log')).size === 0 && !existsSync(join(logs, 'old.log')))
    expect(statSync(join(logs, stuck)).size).toBe(1_001)
  })

  it('R12.8 a full disk is told as such, and nothing is left running', async () => {
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    const provider = bench.open({
      crashPoint: async (point) => {
        if (point === 'spawned') throw full
      },
    })
    await expect(provider.ensure(await bench.spec(apps.wellBehaved))).rejects.toMatchObject({ code: 'DiskFull' })
    await until(async () => (await marked(bench)).length === 0)
    await provider.remove(ID, { graceMs: 0 })
    expect(readdirSync(bench.home)).toEqual([])
  })

  it('R12.8 leaves no half a copy behind when the working directory cannot be made', async () => {
    const spec = await bench.spec(apps.wellBehaved, { links: { 'app.mjs/below-a-file': '/nowhere' } })
    await expect(bench.provider.ensure(spec)).rejects.toThrow('ENOTDIR')
    expect(readdirSync(join(bench.home, ID))).toEqual(['record.json'])
    expect(await bench.provider.list()).toEqual([ID])
  })

  it('R13.3 refuses what no program can be started with, and says what and how large it is', async () => {
    const spec = await bench.spec(apps.wellBehaved)
    const env = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`BIG_${i}`, '€'.repeat(20_000 + i)]))
    const refused = bench.provider.ensure({ ...spec, env: { ...spec.env, ...env } })
    await expect(refused).rejects.toMatchObject({
      code: 'AppConfigInvalid',
      message: expect.stringContaining('the largest variable is BIG_19 with 60073'),
    })
  })

  it('refuses environment variables that would not arrive, by name', async () => {
    const spec = await bench.spec(apps.wellBehaved)
    const refused = bench.provider.ensure({ ...spec, env: { ...spec.env, 'a.b': '1' } })
    await expect(refused).rejects.toMatchObject({ code: 'AppConfigInvalid', message: expect.stringContaining('"a.b"') })
  })
})
