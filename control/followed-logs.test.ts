import { expect, it } from 'vitest'
import { FollowedLogs } from './followed-logs.ts'

/** Logs that a test writes, and a count of the looks at each. */
function place() {
  const written = new Map<string, string[]>()
  const damaged = new Set<string>()
  const looks: string[] = []
  let now = 0
  const errors: string[] = []
  const look = (id: string) => {
    looks.push(id)
    if (damaged.has(id)) throw new Error(`/data/${id} is not a file that can be read`)
  }
  const followed = new FollowedLogs({
    logs: {
      follow: async (id, { lines }) => {
        look(id)
        const unread = (written.get(id) ?? []).slice(-lines)
        written.set(id, unread)
        return {
          more: async () => {
            look(id)
            return (written.get(id) ?? []).splice(0, 2)
          },
        }
      },
    },
    lines: 10,
    elapsed: () => now,
    onError: (_error, instance) => errors.push(instance),
  })
  return {
    followed,
    damaged,
    errors,
    pass: (ms: number) => {
      now += ms
    },
    write: (id: string, ...lines: string[]) => written.set(id, [...(written.get(id) ?? []), ...lines]),
    /** One look at all of them: what they say, and how many looks it took. */
    round: async () => {
      looks.length = 0
      const said: string[] = []
      for (const id of followed.ids) for (const line of await followed.more(id)) said.push(`${id}: ${line}`)
      return { said, looks: looks.length }
    },
  }
}

it('R1.6 an instance that is gone is looked at while it says something and 10 s more, and not for as long as the follower lives', async () => {
  const { followed, pass, write, round } = place()
  for (let deployment = 0; deployment < 1_000; deployment++) {
    followed.follow([`a-${deployment}`])
    write(`a-${deployment}`, 'hello')
    expect((await round()).said).toEqual([`a-${deployment}: hello`])
    pass(1_000)
  }
  // That of now and those of the last ten seconds, each a second apart.
  expect(followed.ids.length).toBeLessThanOrEqual(13)
  followed.follow(['a-999'])
  await round()
  pass(60_000)
  await round()
  expect(followed.ids).toEqual(['a-999'])
})

it('R1.6 last words of an instance that is gone are told, also to a follower that takes them slowly; one that is silent and there stays', async () => {
  const { followed, pass, write, round } = place()
  followed.follow(['gone', 'there'])
  write('gone', '1', '2', '3')
  followed.follow(['there'])
  expect((await round()).said).toEqual(['gone: 1', 'gone: 2'])
  // It took the client longer than an instance that is gone may be silent.
  pass(30_000)
  expect((await round()).said).toEqual(['gone: 3'])
  pass(30_000)
  expect((await round()).said).toEqual([])
  pass(9_000)
  write('gone', 'last')
  expect((await round()).said).toEqual(['gone: last'])
  pass(30_000)
  expect((await round()).said).toEqual([])
  pass(10_000)
  await round()
  expect(followed.ids).toEqual(['there'])
})

it('R1.6 a log that cannot be read is told once as a line of its instance, read again when it can be, and keeps no other from being read', async () => {
  const { followed, damaged, errors, write, round } = place()
  followed.follow(['pipe', 'good'])
  damaged.add('pipe')
  write('good', 'first')
  const told = 'pipe: (its log cannot be read: something that is not a file lies in its place)'
  expect((await round()).said).toEqual([told, 'good: first'])
  write('good', 'second')
  expect((await round()).said).toEqual(['good: second'])
  damaged.delete('pipe')
  write('pipe', 'well')
  expect((await round()).said).toEqual(['pipe: well'])
  damaged.add('pipe')
  expect((await round()).said).toEqual([told])
  expect(errors).toEqual(['pipe', 'pipe'])
})
