import type { RouteTable } from '../domain/route-table.ts'
import type { Health } from './health.ts'
import type { MetricsSnapshot } from './metrics.ts'
import type { MovedSessions } from './rebalance-count.ts'
import type { SessionSample } from './sessions.ts'

/** What the primary, which owns the table, and the processes that carry traffic tell each other. */

export type ToWorker =
  /** `ports`: those of the apps' own ports that can be opened. */
  | { type: 'table'; table: RouteTable; ports: number[] }
  /** Let new requests of these apps wait until the next table, which takes them to other instances. */
  | { type: 'hold'; hold: number; apps: string[] }
  /** In force at once, for the table of now and those that come: a table would bring that of the moment it was sent. */
  | { type: 'health'; health: Health }
  /** These have become silent: what they have was sent for the last time, also where they are not given up. */
  | { type: 'keep'; instances: string[] }
  | { type: 'sessions'; ask: number }
  /** Finish what is in flight and exit; no longer than this. */
  | { type: 'stop'; graceMs: number }

export type FromWorker =
  /** Loaded, and ready for the table that is in force at this moment. */
  | { type: 'ready' }
  | { type: 'holding'; hold: number }
  /** The table is in force here. `ports`: those of apps that are open; what is missing was told to have failed. */
  | { type: 'applied'; inventory: string; version: number; ports: number[]; beat: Beat }
  /** It could not be applied here, by a defect: what was in force before may be in force in part. */
  | { type: 'refused'; version: number; reason: string }
  | { type: 'beat'; beat: Beat }
  | { type: 'listening'; port: number }
  /** An app's own port could not be opened; the next table that has it tries again. */
  | { type: 'portFailed'; port: number; reason: string }
  /** A request could not connect: the primary checks that instance at once. */
  | { type: 'suspect'; instance: string }
  | { type: 'sessions'; ask: number; sample: SessionSample }
  /** Something that an operator has to know; null when it is over. */
  | { type: 'problem'; key: string; message: string | null }

/** Sign of life of a process, four times a second, and at once when a draining instance has nothing in flight. */
export type Beat = {
  /** Requests in flight by instance id; only instances that have some. */
  inFlight: Record<string, number>
  longLived: Record<string, number>
  /** Instances of which a byte has come since the last beat, and those that have answered a request with 5xx. */
  heard: string[]
  failing: string[]
  /** For how many ms instances let requests wait without a byte for anybody; only where it is long enough to matter. */
  silentMs: Record<string, number>
  moved?: MovedSessions
  /** Once a second of the time that it runs. */
  metrics?: MetricsSnapshot
}
