import { describe, expect, it } from 'vitest'
import { type Caller, createSingleFlight } from './single-flight.ts'

function caller() {
  const controller = new AbortController()
  const heard: string[] = []
  const one: Caller = {
    signal: controller.signal,
    log: (line) => heard.push(line),
    onProgress: (words) => heard.push(`* ${words}`),
  }
  return { one, heard, abort: () => controller.abort(new Error('not wanted any more')) }
}

/** Work that says when it began and ends when told to, or some time after it was aborted. */
function work() {
  const begun = Promise.withResolvers<Caller>()
  const end = Promise.withResolvers<string>()
  let times = 0
  const run = async (job: Caller) => {
    times += 1
    begun.resolve(job)
    job.signal.addEventListener('abort', () => setImmediate(() => end.reject(job.signal.reason)))
    return end.promise
  }
  return { run, begun: begun.promise, end, times: () => times }
}

describe('work that several want', () => {
  it('is done once, and all hear all of it, however late they come', async () => {
    const share = createSingleFlight()
    const [a, b, job] = [caller(), caller(), work()]
    const first = share('key', a.one, job.run)
    const running = await job.begun
    running.onProgress('Installing')
    running.log('one')
    const second = share('key', b.one, job.run)
    await Promise.resolve()
    running.log('two')
    job.end.resolve('done')
    expect(await Promise.all([first, second])).toEqual(['done', 'done'])
    expect(job.times()).toBe(1)
    expect(a.heard).toEqual(['* Installing', 'one', 'two'])
    expect(b.heard).toEqual(a.heard)
  })

  it('R14.4 that says more than anybody reads tells who joins late the end of it, and how much it leaves out', async () => {
    const share = createSingleFlight()
    const [a, b, c, job] = [caller(), caller(), caller(), work()]
    const first = share('key', a.one, job.run)
    const running = await job.begun
    running.onProgress('Installing')
    for (let i = 1; i <= 5_000; i++) running.log(`line ${i}`)
    const second = share('key', b.one, job.run)
    await Promise.resolve()
    for (let i = 0; i < 200; i++) running.log('x'.repeat(2_000))
    const third = share('key', c.one, job.run)
    await Promise.resolve()
    job.end.resolve('done')
    await Promise.all([first, second, third])
    expect(a.heard).toHaveLength(5_201)
    expect(b.heard.slice(0, 3)).toEqual(['* Installing', 'coppice: 4000 earlier lines are left out here', 'line 4001'])
    expect(b.heard).toHaveLength(1_202)
    expect(c.heard.slice(0, 2)).toEqual(['* Installing', 'coppice: 5069 earlier lines are left out here'])
    expect(c.heard).toHaveLength(2 + 131)
  })

  it('goes on for the others when one of them aborts, the first one included', async () => {
    const share = createSingleFlight()
    const [a, b, job] = [caller(), caller(), work()]
    const first = share('key', a.one, job.run)
    const second = share('key', b.one, job.run)
    const running = await job.begun
    a.abort()
    await expect(first).rejects.toThrow('not wanted any more')
    expect(running.signal.aborted).toBe(false)
    job.end.resolve('done')
    expect(await second).toBe('done')
  })

  it('is aborted with the last of them, who waits until it has ended', async () => {
    const share = createSingleFlight()
    const [a, job] = [caller(), work()]
    let ended = false
    const only = share('key', a.one, async (running) => {
      try {
        return await job.run(running)
      } finally {
        ended = true
      }
    })
    await job.begun
    a.abort()
    await expect(only).rejects.toThrow('not wanted any more')
    expect(ended).toBe(true)
  })

  it('is begun anew by who comes while an aborted one is still ending, and by who comes after a failure', async () => {
    const share = createSingleFlight()
    const [a, b, aborted, next] = [caller(), caller(), work(), work()]
    const first = share('key', a.one, aborted.run)
    await aborted.begun
    a.abort()
    const second = share('key', b.one, next.run)
    await expect(first).rejects.toThrow()
    await next.begun
    next.end.reject(new Error('failed'))
    await expect(second).rejects.toThrow('failed')
    expect(await share('key', b.one, async () => 'third')).toBe('third')
  })

  it('is not begun for who has aborted already', async () => {
    const share = createSingleFlight()
    const [a, job] = [caller(), work()]
    a.abort()
    await expect(share('key', a.one, job.run)).rejects.toThrow('not wanted any more')
    expect(job.times()).toBe(0)
  })
})
