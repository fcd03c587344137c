import { expect, it } from 'vitest'
import { addCounts, exposition, Metrics } from './metrics.ts'

it('requests are counted by app and by the class of their status, and none twice', () => {
  const metrics = new Metrics()
  for (const status of [101, 200, 204, 299, 404, 503, 599]) metrics.app('a').observe(status, 3)
  metrics.app('a').observe(0, 3)
  metrics.app('b').observe(200, 30_001)
  const { counters } = metrics.snapshot()
  const of = (app: string) =>
    Object.fromEntries(Object.entries(counters).filter(([name]) => name.includes(`requests_total{app="${app}"`)))
  const total = (app: string, code: string) => `coppice_router_requests_total{app="${app}",code="${code}"}`
  expect(of('a')).toEqual({
    [total('a', '0xx')]: 1,
    [total('a', '1xx')]: 1,
    [total('a', '2xx')]: 3,
    [total('a', '4xx')]: 1,
    [total('a', '5xx')]: 2,
  })
  expect(of('b')).toEqual({ [total('b', '2xx')]: 1 })
  const bucket = (app: string, le: string) => counters[`coppice_router_request_seconds_bucket{app="${app}",le="${le}"}`]
  expect([bucket('a', '0.0025'), bucket('a', '0.005'), bucket('a', '+Inf')]).toEqual([0, 8, 8])
  expect([bucket('b', '30'), bucket('b', '+Inf')]).toEqual([0, 1])
})

it('what several processes counted is added up, and series of one name stand together', () => {
  const sum: Record<string, number> = {}
  addCounts(sum, { 'x{a="1"}': 1, y: 2 })
  addCounts(sum, { 'x{a="2"}': 4, y: 3 })
  expect(exposition(sum, { z: 1 })).toBe(
    '# TYPE x counter\nx{a="1"} 1\nx{a="2"} 4\n# TYPE y counter\ny 5\n# TYPE z gauge\nz 1\n',
  )
})
