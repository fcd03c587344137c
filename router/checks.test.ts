import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AppRoute, routeTableSchema } from '../domain/route-table.ts'
import { Checks } from './checks.ts'
import type { Health } from './health.ts'
import { DEFAULT_CHECKS } from './options.ts'
import type { Reply } from './question.ts'

type Asked = { at: number; address: string; path: string | null; reply: (reply: Reply) => void; cancelled: boolean }

let now: number
let asked: Asked[]
let changes: Health[]
let silenced: string[]
let fresh: boolean
let checks: Checks

beforeEach(() => {
  now = 5_000
  asked = []
  changes = []
  silenced = []
  fresh = true
  checks = new Checks({
    options: DEFAULT_CHECKS,
    now: () => now,
    onChange: (health) => changes.push(health),
    onSilent: (instances) => silenced.push(...instances),
    tableIsFresh: () => fresh,
    ask: (address, path, reply) => {
      const question: Asked = { at: now, address, path, reply, cancelled: false }
      asked.push(question)
      return {
        cancel: () => {
          question.cancelled = true
        },
      }
    },
  })
})

afterEach(() => checks.stop())

const pass = (ms: number, each: () => void = () => undefined) => {
  for (const end = now + ms; now < end; ) {
    now += 100
    each()
    checks.tick()
  }
}
const table = (n: number, up: boolean[] = [], more: Partial<AppRoute> = {}, version = 1) =>
  routeTableSchema.parse({
    inventory: 'test',
    version,
    apps: [
      {
        app: 'app',
        hostnames: [],
        port: null,
        version,
        affinity: true,
        status: 'running',
        drainTimeoutMs: 0,
        endpoints: Array.from({ length: n }, (_, i) => ({
          instance: `i${i}`,
          slot: i,
          address: `127.0.0.1:${9000 + i}`,
          state: 'serving',
          up: up[i] ?? true,
        })),
        ...more,
      },
    ],
  })
const questionsTo = (i: number) => asked.filter(({ address }) => address === `127.0.0.1:${9000 + i}`)
const lastTo = (i: number) => questionsTo(i).at(-1) as Asked
const answerAll = (reply: Reply = 'good') => {
  for (const one of asked) if (!one.cancelled) one.reply(reply)
}
/** A request waits at this instance, and has since `since`. */
const waitsAt = (i: number, since: number) => () => checks.waiting({ [`i${i}`]: now - since })

describe('R12.2 questions', () => {
  it('R12.2 are not asked to an instance that sends something, and rarely to an idle one', () => {
    checks.watch(table(2))
    pass(60_000, () => {
      checks.heard(['i0'])
      answerAll()
    })
    expect(questionsTo(0)).toEqual([])
    expect(questionsTo(1).length).toBeLessThanOrEqual(2)
  })

  it('R12.2 are not asked for a request that waits at an instance that sends others something', () => {
    checks.watch(table(1))
    pass(20_000, () => {
      checks.heard(['i0'])
      checks.waiting({ i0: 8_000 })
    })
    expect(questionsTo(0)).toEqual([])
  })

  it('R12.2 are asked without anybody who looks at the clock for it', async () => {
    checks.watch(table(1))
    pass(20_000)
    expect(questionsTo(0)).toEqual([])
    checks.waiting({ i0: 8_000 })
    await vi.waitFor(() => expect(questionsTo(0)).toHaveLength(1), { timeout: 5_000 })
  })

  it('R12.2 are asked for requests that wait ever more rarely, down to once in ten seconds, while they are answered', () => {
    checks.watch(table(1))
    pass(120_000, () => {
      // Handlers of two seconds, one after the other: slow, and well.
      checks.waiting({ i0: now % 2_000 })
      if (now % 2_000 === 0) checks.heard(['i0'])
      answerAll()
    })
    const pauses = questionsTo(0).map(({ at }, i, all) => at - (all[i - 1]?.at ?? 0))
    expect(pauses.slice(1, 5).every((ms, i) => ms >= 1_000 * 2 ** i && ms <= 1_000 * 2 ** i + 2_000)).toBe(true)
    expect(pauses.slice(5).every((ms) => ms >= 10_000 && ms <= 12_000)).toBe(true)
    expect(changes).toEqual([])
  })

  it('R12.2 are asked soon of one that let a request wait a moment ago, and gave no cause for another question for long', () => {
    checks.watch(table(2))
    for (let time = 0; time < 3; time++) {
      // A slow request, and a question that is answered at once; a second later a blocked event loop.
      const slow = now
      pass(1_500, () => {
        waitsAt(0, slow)()
        answerAll()
      })
      checks.heard(['i0'])
      const blocked = now
      pass(3_000, waitsAt(0, blocked))
      expect(checks.health.busy).toEqual(['i0'])
      lastTo(0).reply('good')
      pass(61_000, () => {
        checks.heard(['i0'])
        answerAll()
      })
    }
  })

  it('R12.2 are not asked again and again for a request that waits long, or fails, where they are answered', () => {
    checks.watch(table(2))
    const since = now
    pass(60_000, () => {
      // A long poll, and a handler that always fails.
      checks.waiting({ i0: now - since })
      checks.heard(['i1'])
      checks.answeredBadly(['i1'])
      answerAll()
    })
    expect([questionsTo(0).length <= 10, questionsTo(1).length <= 42]).toEqual([true, true])
    expect([0, 1].map((i) => questionsTo(i).length >= 2)).toEqual([true, true])
    expect(changes).toEqual([])
  })

  it('R12.2 are asked again soon where the last one had to wait: whoever was busy may be so again', () => {
    checks.watch(table(2))
    for (let block = 0; block < 3; block++) {
      const since = now
      pass(4_000, waitsAt(0, since))
      expect(checks.health.busy).toEqual(['i0'])
      checks.heard(['i0'])
      lastTo(0).reply('good')
      expect(checks.health.busy).toEqual([])
    }
  })

  it('R12.2 ask for the path of the app, also when that changes under a running instance', () => {
    checks.watch(table(1, [], { healthPath: '/health' }))
    pass(31_000, answerAll)
    checks.watch(table(1, [], { healthPath: '/other' }, 2))
    pass(31_000, answerAll)
    expect(questionsTo(0).map(({ path }) => path)).toEqual(['/health', '/other'])
  })
})

describe('an instance that lets a question wait', () => {
  it('R12.2 is busy after a second, is well again with the first byte of it, and is never ejected before its limit', () => {
    checks.watch(table(3))
    pass(1_000)
    const since = now
    pass(2_300, waitsAt(1, since))
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: ['i1'] })
    pass(11_000, waitsAt(1, since))
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: ['i1'] })
    expect(questionsTo(1)).toHaveLength(1)
    checks.heard(['i1'])
    pass(100)
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: [] })
  })

  it('R12.2 is named behind those that have been silent for longer', () => {
    checks.watch(table(3))
    checks.heard(['i1'])
    for (const i of [1, 2, 0]) {
      const since = now
      pass(2_500, () => {
        checks.waiting({ [`i${i}`]: now - since })
        if (i === 1) checks.heard(['i2'])
        if (i !== 0) checks.heard(['i0'])
      })
    }
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: ['i1', 'i2', 'i0'] })
  })

  it('R12.2 is not given up for a silence in which nobody asked it: what it was asked for at last it may have answered', () => {
    checks.watch(table(3, [], { silenceMs: 5_000 }))
    const since = now
    // A long poll, for which it is asked ever more rarely, and answers at once.
    pass(60_000, () => {
      waitsAt(0, since)()
      answerAll()
    })
    expect(changes).toEqual([])
    // Blocked from now on: its limit is counted from then, whenever it was asked last.
    const blocked = now
    const waits = () => {
      waitsAt(0, since)()
      checks.heard(['i1', 'i2'])
    }
    pass(4_900, waits)
    expect(checks.health.givenUp).toEqual([])
    while (checks.health.givenUp.length === 0 && now - blocked < 16_000) pass(100, waits)
    expect(checks.health.givenUp).toEqual(['i0'])
  })

  it.each([6_000, 10_000, 14_000])(
    'R12.2 that blocks for %i ms is not given up before 15 s of that, however rarely it was asked before',
    (ms) => {
      for (let start = 30_000; start < 42_000; start += 700) {
        checks.watch(table(3, [], { version: start }, start))
        checks.watch(table(3, [], {}, start + 1))
        const since = now
        pass(start, () => {
          waitsAt(0, since)()
          answerAll()
        })
        pass(ms, waitsAt(0, since))
        expect(checks.health.givenUp).toEqual([])
        checks.heard(['i0'])
        answerAll()
      }
    },
  )

  it('R12.2 is given up when it has sent no byte for as long as its app allows, and comes back when it answers', () => {
    checks.watch(table(3, [], { silenceMs: 40_000 }))
    pass(1_000)
    const since = now
    const waits = () => {
      checks.heard(['i0', 'i2'])
      waitsAt(1, since)()
    }
    pass(39_500, waits)
    expect(checks.health.givenUp).toEqual([])
    pass(1_000, waits)
    expect([checks.health, checks.silent]).toEqual([{ dead: [], givenUp: ['i1'], busy: ['i1'] }, ['i1']])
    lastTo(1).reply('good')
    pass(100)
    expect([checks.health, checks.silent]).toEqual([{ dead: [], givenUp: [], busy: [] }, []])
  })

  it('R12.2 is not given up when that would be more than half with those of the last minute; it is when the minute is over', () => {
    checks.watch(table(3))
    const silent = (i: number) => {
      const since = now
      pass(16_000, () => {
        checks.heard(['i0', 'i1', 'i2'].filter((id) => id !== `i${i}`))
        waitsAt(i, since)()
      })
    }
    silent(0)
    expect(checks.health.givenUp).toEqual(['i0'])
    lastTo(0).reply('good')
    pass(1_000)
    silent(1)
    expect([checks.health.givenUp, checks.silent, checks.health.busy]).toEqual([[], ['i1'], ['i1']])
    // What it has is not to run a second time all the same.
    expect(silenced).toEqual(['i0', 'i1'])
    pass(45_000, () => checks.heard(['i0', 'i2']))
    expect(checks.health.givenUp).toEqual(['i1'])
  })

  it('R12.2 is not called late by a router that did not run itself', () => {
    checks.watch(table(3))
    pass(1_000, waitsAt(1, now))
    now += 60_000
    checks.tick()
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: [] })
  })

  it('R12.2 of a single instance keeps its sessions, and is told to be silent all the same', () => {
    checks.watch(table(1))
    pass(17_000, waitsAt(0, now))
    expect([checks.health.givenUp, checks.silent]).toEqual([[], ['i0']])
  })
})

describe('an instance that answers badly', () => {
  it('R12.2 is ejected within 3 s also when single requests failed before, and others were slow, while it was well', () => {
    checks.watch(table(3))
    const since = now
    pass(60_000, () => {
      if (now % 3_000 === 0) checks.answeredBadly(['i1'])
      waitsAt(1, since)()
      checks.heard(['i0', 'i2'])
      answerAll()
    })
    pass(3_000, () => {
      checks.heard(['i0', 'i1', 'i2'])
      checks.answeredBadly(['i1'])
      answerAll('bad')
    })
    expect(checks.health.givenUp).toEqual(['i1'])
  })

  it('R12.2 is ejected within 3 s of the first request that fails, and is back after two good answers', () => {
    checks.watch(table(3))
    checks.heard(['i0', 'i1', 'i2'])
    const failing = () => {
      checks.heard(['i1'])
      checks.answeredBadly(['i1'])
    }
    pass(3_000, () => {
      failing()
      answerAll('bad')
    })
    expect(checks.health.givenUp).toEqual(['i1'])
    expect(checks.silent).toEqual([])
    pass(2_000, answerAll)
    expect(checks.health.givenUp).toEqual([])
  })

  it('R12.2 is asked no more than once a second for requests that fail while its question is answered well', () => {
    checks.watch(table(3))
    pass(30_000, () => {
      checks.answeredBadly(['i1'])
      answerAll()
    })
    expect(questionsTo(1).length).toBeLessThanOrEqual(21)
    expect(changes).toEqual([])
  })
})

describe('an instance that a table takes away', () => {
  const drain = (version: number) => {
    const drained = table(4, [], {}, version)
    for (const endpoint of drained.apps[0]?.endpoints.slice(0, 2) ?? []) endpoint.state = 'draining'
    return drained
  }

  it('R12.2 stays given up until that table is in force: until then requests would go to it', () => {
    checks.watch(table(4))
    const since = now
    pass(16_000, waitsAt(0, since))
    expect(checks.health.givenUp).toEqual(['i0'])
    checks.watch(drain(2))
    expect(checks.health.givenUp).toEqual(['i0'])
    checks.watch(table(0, [], { app: 'other' }, 3))
    expect([checks.health.givenUp, checks.silent]).toEqual([['i0'], []])
    checks.inForce()
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: [] })
  })

  it('R12.2 is told to be silent while it drains, so that nothing it has runs a second time, and is asked for nothing else', () => {
    checks.watch(table(4))
    checks.watch(drain(2))
    checks.inForce()
    pass(60_000, () => checks.heard(['i2', 'i3']))
    expect(questionsTo(1)).toEqual([])
    const since = now
    pass(14_000, () => {
      waitsAt(1, since)()
      checks.heard(['i2', 'i3'])
    })
    expect([silenced, questionsTo(1).length]).toEqual([[], 1])
    pass(2_000, waitsAt(1, since))
    expect([silenced, checks.silent, checks.health.givenUp]).toEqual([['i1'], [], []])
  })

  it('R12.2 is no less silent because it does not listen any more', () => {
    checks.watch(table(4))
    checks.watch(drain(2))
    const since = now
    pass(17_000, () => {
      waitsAt(1, since)()
      checks.heard(['i2', 'i3'])
      for (const one of questionsTo(1)) if (!one.cancelled) one.reply('refused')
    })
    expect([silenced, checks.health]).toEqual([['i1'], { dead: [], givenUp: [], busy: ['i1'] }])
  })
})

describe('a dead instance', () => {
  it('R12.2 is out at once on the word of the table, also more than half of them, and nobody asks it', () => {
    checks.watch(table(3))
    checks.watch(table(3, [false, false], {}, 2))
    expect(checks.health.dead).toEqual(['i0', 'i1'])
    pass(20_000, () => checks.heard(['i2']))
    expect(asked).toEqual([])
    checks.watch(table(3, [], {}, 3))
    expect(checks.health.dead).toEqual([])
  })

  it('R12.4 is asked when nobody tells tables any more, and is back when it answers', () => {
    checks.watch(table(2, [false]))
    fresh = false
    pass(2_000)
    expect(questionsTo(0)).toHaveLength(1)
    answerAll()
    expect(checks.health.dead).toEqual([])
  })

  it('R12.2 is found by its refusal at once, and is back with its first good answer', () => {
    checks.watch(table(2))
    checks.suspect('i0')
    lastTo(0).reply('refused')
    expect(checks.health.dead).toEqual(['i0'])
    pass(600, () => lastTo(0).reply('refused'))
    expect(questionsTo(0).length).toBeGreaterThan(1)
    pass(600, answerAll)
    expect(checks.health.dead).toEqual([])
  })

  it('R12.2 is found by its refusal also while another question waits', () => {
    checks.watch(table(3))
    const since = now
    pass(1_500, waitsAt(0, since))
    expect(questionsTo(0)).toHaveLength(1)
    for (let n = 0; n < 5; n++) checks.suspect('i0')
    expect(questionsTo(0)).toHaveLength(2)
    lastTo(0).reply('refused')
    expect(checks.health.dead).toEqual(['i0'])
    expect(questionsTo(0)[0]?.cancelled).toBe(true)
  })

  it('R12.2 that refuses for longer than its app may be silent is told of, so that it is started again, though it runs', () => {
    checks.watch(table(2))
    checks.suspect('i0')
    pass(14_900, () => answerAll('refused'))
    expect([checks.health.dead, checks.silent]).toEqual([['i0'], []])
    pass(500, () => answerAll('refused'))
    expect([checks.health.dead, checks.silent]).toEqual([['i0'], ['i0']])
    // Its process is known to be gone: then that is being seen to.
    checks.watch(table(2, [false], {}, 2))
    expect(checks.silent).toEqual([])
    checks.watch(table(2, [], {}, 3))
    pass(1_000, answerAll)
    expect([checks.health.dead, checks.silent]).toEqual([[], []])
  })

  it('D8 is not made of an error of the router itself', () => {
    checks.watch(table(2))
    checks.suspect('i0')
    lastTo(0).reply('none')
    pass(1_000)
    expect(changes).toEqual([])
  })

  it('D8 an error of the router itself while it asks the idle makes nobody silent', () => {
    checks.watch(table(2))
    pass(90_000, () => answerAll('none'))
    expect(questionsTo(0).length).toBeGreaterThan(1)
    expect([changes, checks.silent]).toEqual([[], []])
  })

  it('R12.2 of one that answers again, if badly, it is known that it lives: all of an app are never out for that', () => {
    checks.watch(table(2))
    for (const instance of ['i0', 'i1']) checks.suspect(instance)
    answerAll('refused')
    expect(checks.health.dead).toEqual(['i0', 'i1'])
    pass(3_000, () => answerAll('bad'))
    expect(checks.health).toEqual({ dead: [], givenUp: [], busy: [] })
  })

  it('R12.2 that comes back is not judged by a question that its predecessor had', () => {
    checks.watch(table(2))
    checks.suspect('i0')
    const old = lastTo(0)
    checks.watch(table(2, [false], {}, 2))
    checks.watch(table(2, [], {}, 3))
    old.reply('refused')
    expect([old.cancelled, checks.health.dead]).toEqual([true, []])
  })
})
