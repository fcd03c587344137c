import { lowerQuartile } from '../figures.ts'
import type { LoadOrder } from './load.ts'
import type { Cores } from './machine.ts'
import { measure } from './measure.ts'
import type { Peer } from './peers.ts'

const SLICES = 20
const SECONDS = 1.5
const WARM_UP_SECONDS = 0.5

/**
 * CPU time per request, in µs, of some proxies in many short slices that take turns. On a shared machine the neighbours
 * come and go within seconds and can only add to it, so that what counts is the lower quartile of each: the same code
 * on the same core cost 36 to 78 µs within a minute.
 */
export async function cpuSeries(
  peers: Peer[],
  shape: Pick<LoadOrder, 'method' | 'path' | 'bodyBytes' | 'connections' | 'rate'>,
  cores: Cores,
): Promise<Map<string, number[]>> {
  const series = new Map<string, number[]>(peers.map((peer) => [peer.name, []]))
  for (let slice = 0; slice < SLICES; slice++) {
    for (const peer of peers) {
      const order = {
        ...shape,
        port: peer.port,
        host: 'app.localhost',
        seconds: SECONDS,
        warmUpSeconds: WARM_UP_SECONDS,
      }
      series.get(peer.name)?.push((await measure(peer.pids, order, cores)).cpuMicros)
    }
  }
  return series
}

/** Lower quartile of ours over that of the peer. */
export function cpuRatio(series: Map<string, number[]>, peer: string): number {
  return lowerQuartile(series.get('ours') ?? []) / lowerQuartile(series.get(peer) ?? [])
}
