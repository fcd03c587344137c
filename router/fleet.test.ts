import cluster, { type Worker } from 'node:cluster'
import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { app, table } from '../test/router/support/tables.ts'
import { Fleet } from './fleet.ts'
import { ALL_WELL } from './health.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { resolveOptions } from './options.ts'
import { processState } from './process-state.ts'

vi.mock('./process-state.ts', () => ({ processState: vi.fn(() => null) }))

/** One that exists only as far as the fleet can see: what it was told, and what it says. */
class Process extends EventEmitter {
  readonly told: ToWorker[] = []
  readonly process: { pid: number | undefined; kill: (signal?: string) => void }
  readonly id: number

  constructor(id: number, pid: number | undefined = process.pid) {
    super()
    this.id = id
    this.process = { pid, kill: vi.fn() }
  }
  isConnected = () => true
  send = (message: ToWorker) => this.told.push(message)
  say = (message: FromWorker) => this.emit('message', message)

  /** The newest table that it was told. */
  get version(): number | undefined {
    return this.told.flatMap((message) => (message.type === 'table' ? [message.table.version] : [])).at(-1)
  }
  holds(): number {
    return this.told.filter((message) => message.type === 'hold').length
  }
  applies(): void {
    const beat = { inFlight: {}, longLived: {}, heard: [], failing: [], silentMs: {} }
    this.say({ type: 'applied', inventory: 'test', version: this.version as number, ports: [], beat })
  }
}

const row = (name: string, instance: string) => app(name, [{ name: instance, address: '127.0.0.1:1' }])

describe('the processes of a router', () => {
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() }
  const problems = new Map<string, string>()
  let started: Process[]
  /** What comes of the next starts; a process, as long as nothing else is said. */
  let give: (id: number) => Process
  let fleet: Fleet
  /** Versions for which it asked for the word. */
  let holding: (number | undefined)[]

  beforeEach(() => {
    vi.useFakeTimers()
    vi.mocked(processState).mockReset()
    problems.clear()
    holding = []
    started = []
    give = (id) => new Process(id)
    let ids = 0
    vi.spyOn(cluster, 'fork').mockImplementation(() => {
      const one = give(++ids)
      started.push(one)
      return one as unknown as Worker
    })
    const nothing = () => undefined
    fleet = new Fleet(
      resolveOptions(['--routes', 'x', '--processes', '2', '--listen', '127.0.0.1:0'], {}),
      {
        onListening: nothing,
        onPortFailed: nothing,
        onApplied: nothing,
        onHolding: () => holding.push(fleet.holding?.version),
        onBeat: nothing,
        onSuspect: nothing,
        onMoved: nothing,
        onRefused: nothing,
        onProblem: (key, message) => {
          if (message === null) problems.delete(key)
          else problems.set(key, message)
        },
      },
      log as never,
    )
  })
  afterEach(() => {
    vi.clearAllTimers()
    vi.useRealTimers()
    vi.restoreAllMocks()
  })

  const running = (...all: Process[]) => {
    for (const one of all) {
      one.say({ type: 'ready' })
      one.applies()
    }
  }
  /** As node:cluster tells of a program that has gone: no exit, and no process. */
  const gone = (id: number) => {
    const one = new Process(id, undefined)
    one.process.pid = undefined
    process.nextTick(() => {
      one.emit('error', Object.assign(new Error('spawn node ENOENT'), { code: 'ENOENT' }))
      one.emit('disconnect')
    })
    return one
  }
  const none = () => {
    throw new Error('spawn EAGAIN')
  }

  it.each([
    ['with an error', gone, 'spawn node ENOENT'],
    ['at once', none, 'spawn EAGAIN'],
  ])(
    'R1.2 that cannot be started, which fails %s, are told, hold no table back, and are tried ever more seldom',
    async (_how, failing, why) => {
      fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
      running(...started)
      expect(fleet.processes).toBe(2)
      const [staying, ending] = started as [Process, Process]
      let attempts = 0
      give = (id) => {
        attempts++
        return failing(id)
      }
      ending.emit('exit', null, 'SIGKILL')
      await vi.advanceTimersByTimeAsync(250)
      expect(attempts).toBe(1)
      expect(problems.get('processes')).toContain(why)
      fleet.publish(table(2, row('app', 'b')), [])
      staying.say({ type: 'holding', hold: 1 })
      staying.applies()
      expect(staying.version).toBe(2)
      expect(fleet.appliedEverywhere('test', 2)).toBe(true)
      // Neither for ever as often as at first, nor twice as many with each round.
      for (let second = 0; second < 60; second++) await vi.advanceTimersByTimeAsync(1000)
      expect(attempts).toBeGreaterThan(5)
      expect(attempts).toBeLessThan(15)
      give = (id) => new Process(id)
      await vi.advanceTimersByTimeAsync(10_000)
      running(started.at(-1) as Process)
      expect(fleet.processes).toBe(2)
      expect(problems.size).toBe(0)
    },
  )

  it.each([
    ['with an error', gone, 'spawn node ENOENT'],
    ['at once', none, 'spawn EAGAIN'],
  ])(
    'R14.2 stay when they are to be replaced and a new one cannot be started, which fails %s',
    async (_how, failing, why) => {
      fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
      running(...started)
      give = failing
      const replaced = fleet.replaceOneByOne()
      await vi.advanceTimersByTimeAsync(1000)
      expect(await replaced).toContain(why)
      expect([...problems.keys()]).toEqual(['replace'])
      expect(fleet.processes).toBe(2)
    },
  )

  it('R1.2 that are all missing are tried for all at once, not once more for each that failed', async () => {
    let attempts = 0
    give = (id) => {
      attempts++
      return gone(id)
    }
    fleet.start(table(1), [], ALL_WELL)
    for (let second = 0; second < 60; second++) await vi.advanceTimersByTimeAsync(1000)
    expect(attempts).toBeLessThan(30)
  })

  it('R1.2 are as many as they should be after a replacement during which one place was empty', async () => {
    fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
    running(...started)
    const [staying, ending] = started as [Process, Process]
    ending.emit('exit', null, 'SIGKILL')
    const replaced = fleet.replaceOneByOne()
    // It takes longer to load than the pause before the empty place is filled.
    await vi.advanceTimersByTimeAsync(300)
    running(started[2] as Process)
    await vi.advanceTimersByTimeAsync(300)
    expect(staying.told.at(-1)?.type).toBe('stop')
    staying.emit('exit', 0, null)
    await vi.advanceTimersByTimeAsync(300)
    expect(await replaced).toBeNull()
    expect(started).toHaveLength(4)
  })

  it('R14.2 that end by themselves while others are replaced have one successor, which is replaced by nobody', async () => {
    fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
    running(...started)
    const [first, second] = started as [Process, Process]
    const replaced = fleet.replaceOneByOne()
    second.emit('exit', null, 'SIGKILL')
    running(started[2] as Process)
    await vi.advanceTimersByTimeAsync(300)
    expect(first.told.at(-1)?.type).toBe('stop')
    first.emit('exit', 0, null)
    running(started[3] as Process)
    await vi.advanceTimersByTimeAsync(300)
    expect(started).toHaveLength(4)
    expect(await replaced).toBeNull()
  })

  it('R1.2 share the port that was drawn with those that live, and ask for it by its number once none does', async () => {
    const asked = () =>
      vi
        .mocked(cluster.fork)
        .mock.calls.map(
          ([env]) => JSON.parse((env as Record<string, string>).COPPICE_ROUTER_WORKER as string).listen.port,
        )
    fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
    running(...started)
    const [one, other] = started as [Process, Process]
    one.say({ type: 'listening', port: 4711 })
    other.emit('exit', null, 'SIGKILL')
    await vi.advanceTimersByTimeAsync(250)
    expect(asked()).toEqual([0, 0, 0])
    for (const each of [one, started[2] as Process]) each.emit('exit', null, 'SIGKILL')
    await vi.advanceTimersByTimeAsync(1000)
    expect(asked()).toEqual([0, 0, 0, 4711, 4711])
  })

  it('D7 that fall silent are killed, and that is told; one that only gets no CPU is left half a minute', async () => {
    give = (id) => new Process(id, id)
    fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
    running(...started)
    const [hanging, starved] = started as [Process, Process]
    vi.mocked(processState).mockImplementation((pid) => ({ letter: pid === starved.id ? 'R' : 'S', cpuSeconds: 1 }))
    const beat = { inFlight: {}, longLived: {}, heard: [], failing: [], silentMs: {} }
    const killed = ({ process: { kill } }: Process) => vi.mocked(kill).mock.calls
    await vi.advanceTimersByTimeAsync(2500)
    expect([killed(hanging), killed(starved)]).toEqual([[], []])
    await vi.advanceTimersByTimeAsync(1000)
    expect([killed(hanging), killed(starved)]).toEqual([[['SIGKILL']], []])
    expect(log.error).toHaveBeenCalledWith({ pid: hanging.id }, expect.stringContaining('fell silent'))
    hanging.emit('exit', null, 'SIGKILL')
    // Its successor speaks all the time.
    for (let second = 0; second < 26; second++) {
      await vi.advanceTimersByTimeAsync(1000)
      started[2]?.say({ type: 'beat', beat })
    }
    expect(killed(starved)).toEqual([])
    await vi.advanceTimersByTimeAsync(1500)
    expect(killed(starved)).toEqual([['SIGKILL']])
  })

  describe('R12.10 of which one answers to no table', () => {
    const counts = { counters: {}, gauges: {} }
    const beat = { inFlight: {}, longLived: {}, heard: [], failing: [], silentMs: {} }
    /** Both live on; each beat with counts is a second of their own time. */
    const live = async (seconds: number, ...all: Process[]) => {
      for (let second = 0; second < seconds; second++) {
        await vi.advanceTimersByTimeAsync(1000)
        for (const one of all) {
          for (let n = 0; n < 20; n++) one.say({ type: 'beat', beat })
          one.say({ type: 'beat', beat: { ...beat, metrics: counts } })
        }
      }
    }
    const wasKilled = ({ process: { kill } }: Process) => vi.mocked(kill).mock.calls.length > 0
    const wasStopped = (one: Process) => one.told.some(({ type }) => type === 'stop')
    let hung: Process
    let well: Process
    beforeEach(() => {
      fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
      ;[hung, well] = started as [Process, Process]
    })

    it('and lives, have it replaced after half a minute, finish what it has, and are waited for no longer', async () => {
      running(hung, well)
      fleet.publish(table(2, row('app', 'a')), [])
      well.applies()
      await live(29, hung, well)
      expect([wasStopped(hung), started.length]).toEqual([false, 2])
      await live(1, hung, well)
      expect([wasStopped(hung), wasKilled(hung), wasStopped(well), started.length]).toEqual([true, false, false, 3])
      expect(log.error).toHaveBeenCalledWith({ pid: process.pid }, expect.stringContaining('takes up no table'))
      const fresh = started[2] as Process
      running(fresh)
      expect(fleet.appliedEverywhere('test', 2)).toBe(false)
      // It drains for as long as it may, and no second one comes for it.
      await live(29, hung, well, fresh)
      expect([wasKilled(hung), started.length]).toEqual([false, 3])
      hung.emit('exit', 0, null)
      expect(fleet.appliedEverywhere('test', 2)).toBe(true)
      await live(60, well, fresh)
      expect([wasStopped(well), wasStopped(fresh), started.length]).toEqual([false, false, 3])
    })

    it('and has never had one, kill it: it carries nothing', async () => {
      running(well)
      hung.say({ type: 'ready' })
      await live(30, hung, well)
      expect([wasKilled(hung), wasKilled(well)]).toEqual([true, false])
      hung.emit('exit', null, 'SIGKILL')
      await vi.advanceTimersByTimeAsync(250)
      expect(started).toHaveLength(3)
    })

    it('but answers in the end, or gets so little of the machine that it has not lived for half a minute, leave it', async () => {
      running(hung, well)
      vi.mocked(processState).mockImplementation(() => ({ letter: 'R', cpuSeconds: 1 }))
      fleet.publish(table(2, row('app', 'a')), [])
      well.applies()
      for (let n = 0; n < 4; n++) {
        await live(25, well)
        await live(1, hung, well)
      }
      await live(20, hung, well)
      hung.applies()
      fleet.publish(table(3, row('app', 'a')), [])
      well.applies()
      await live(20, hung, well)
      hung.say({ type: 'refused', version: 3, reason: 'of a newer program' })
      await live(60, hung, well)
      expect([wasKilled(hung), wasStopped(hung), started.length]).toEqual([false, false, 2])
    })
  })

  it('end with the router while they are being replaced, and no further one is started', async () => {
    fleet.start(table(1, row('app', 'a')), [], ALL_WELL)
    running(...started)
    void fleet.replaceOneByOne()
    running(started[2] as Process)
    await vi.advanceTimersByTimeAsync(30)
    const stopped = fleet.stop()
    await vi.advanceTimersByTimeAsync(30)
    for (const one of started) one.emit('exit', 0, null)
    await vi.advanceTimersByTimeAsync(30)
    await stopped
    expect(started).toHaveLength(3)
  })

  it('R3.4 wait for a starved one no longer than for the first hold, however closely further tables follow', async () => {
    fleet.start(table(1, row('one', 'a'), row('two', 'a')), [], ALL_WELL)
    running(...started)
    const [lively, starved] = started as [Process, Process]
    const answers = () => lively.say({ type: 'holding', hold: lively.holds() })
    fleet.publish(table(2, row('one', 'b'), row('two', 'a')), [])
    answers()
    await vi.advanceTimersByTimeAsync(2000)
    fleet.publish(table(3, row('one', 'b'), row('two', 'b')), [])
    answers()
    await vi.advanceTimersByTimeAsync(900)
    expect(lively.version).toBe(1)
    await vi.advanceTimersByTimeAsync(200)
    expect(lively.version).toBe(3)
    expect(starved.version).toBe(3)
    // The next one has its whole time again.
    fleet.publish(table(4, row('one', 'c'), row('two', 'b')), [])
    answers()
    await vi.advanceTimersByTimeAsync(2900)
    expect(lively.version).toBe(3)
    starved.say({ type: 'holding', hold: starved.holds() })
    expect(lively.version).toBe(4)
  })

  describe('R3.4 of several routers', () => {
    const word = (version: number) => ({ inventory: 'test', version })
    const hold = () => {
      for (const one of started) one.say({ type: 'holding', hold: one.holds() })
    }
    const versions = () => started.map(({ version }) => version)
    beforeEach(() => {
      fleet.start(table(1, row('one', 'a')), [], ALL_WELL)
      running(...started)
    })

    it('hold a table until the word comes, which is asked for when all of them hold it', async () => {
      fleet.publish(table(2, row('one', 'b')), [], true)
      expect([holding, fleet.holding]).toEqual([[], null])
      hold()
      expect([holding, fleet.holding, versions()]).toEqual([[2], word(2), [1, 1]])
      fleet.release(word(1))
      expect(versions()).toEqual([1, 1])
      fleet.release(word(2))
      expect([fleet.holding, versions()]).toEqual([null, [2, 2]])
    })

    it('ask for no word that they have, nor for one on what takes no app to other instances', async () => {
      fleet.release(word(2))
      fleet.publish(table(2, row('one', 'b')), [], true)
      hold()
      fleet.publish(table(3, row('one', 'b')), [], true)
      expect([holding, versions()]).toEqual([[], [3, 3]])
    })

    it.each([
      ['the control plane has gone', () => fleet.release(null)],
      ['it takes too long', () => vi.advanceTimersByTimeAsync(3_100)],
    ])('go on without the word when %s', async (_, happens) => {
      fleet.publish(table(2, row('one', 'b')), [], true)
      hold()
      expect(versions()).toEqual([1, 1])
      await happens()
      expect(versions()).toEqual([2, 2])
    })

    it('need none when it has gone before all of them hold the table', async () => {
      fleet.publish(table(2, row('one', 'b')), [], true)
      fleet.release(null)
      expect(versions()).toEqual([1, 1])
      hold()
      expect(versions()).toEqual([2, 2])
    })
  })
})
