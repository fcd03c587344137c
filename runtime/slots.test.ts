import { expect, it } from 'vitest'
import { Slots } from './slots.ts'

it('works on so many at once and no more, in the order they came, also after one has failed', async () => {
  const slots = new Slots(2)
  const log: string[] = []
  const doors = new Map<string, (error?: Error) => void>()
  const enter = (name: string) =>
    slots.use(() => {
      log.push(name)
      return new Promise<void>((resolve, reject) => doors.set(name, (error) => (error ? reject(error) : resolve())))
    })
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(enter)
  expect(log).toEqual(['a', 'b'])
  doors.get('b')?.(new Error('failed'))
  await expect(b).rejects.toThrow('failed')
  await Promise.resolve()
  expect(log).toEqual(['a', 'b', 'c'])
  doors.get('a')?.()
  await a
  doors.get('c')?.()
  await c
  expect(log).toEqual(['a', 'b', 'c', 'd'])
  doors.get('d')?.()
  await d
  const [e, f] = [enter('e'), enter('f')]
  expect(log.slice(4)).toEqual(['e', 'f'])
  doors.get('e')?.()
  doors.get('f')?.()
  await Promise.all([e, f])
})
