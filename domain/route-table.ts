import { z } from 'zod'
import { portOf } from './address.ts'
import { SHED_RANKS } from './affinity.ts'
import { healthPathSchema } from './health-check.ts'
import { DEFAULTS } from './limits.ts'

/**
 * The route table: everything a router needs to know, and nothing else (DESIGN D7). The control plane publishes whole
 * tables; a router applies a table whole or refuses it whole, and keeps the last one on its disk.
 *
 * Versions are totally ordered within one inventory; a table of another inventory is another world and replaces
 * whatever was there.
 *
 * Programs of neighbouring versions meet here (D32): who reads ignores fields that it does not know, and who adds one
 * gives it a default. What that cannot express raises `PROTOCOL`, and who does not know the number refuses the table.
 */
export const PROTOCOL = 1
const protocol = z.int().min(1)

export const endpointSchema = z.object({
  /** Id of the instance; only for people and counts, affinity uses the slot. */
  instance: z.string().min(1),
  slot: z.int().min(0).max(63),
  /** `host:port`; IPv6 hosts in brackets. */
  address: z
    .string()
    .regex(/^(?:\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}$/, 'must be host:port')
    .refine((address) => portOf(address) <= 65_535, 'has a port above 65535'),
  /** `serving` gets sessions; `draining` finishes what it has and gets nothing new. */
  state: z.enum(['serving', 'draining']),
  /** What the answer of this endpoint counts as, e.g. in metrics. */
  deployment: z.string().optional(),
  /**
   * False: the worker has seen that its process is gone or stopped. The router ejects it at once (R12.2). True says only
   * that nobody knows of its death.
   */
  up: z.boolean().default(true),
})
export type Endpoint = z.infer<typeof endpointSchema>

export const appRouteSchema = z.object({
  app: z.string().min(1),
  /** Host names (lower case, without port) that belong to this app, e.g. `hello.localhost`. */
  hostnames: z.array(z.string().min(1)),
  /** A port of its own on which the router serves this app whatever the Host is; null for none (DESIGN D13). */
  port: z.int().min(1).max(65535).nullable(),
  /** Version of the table in which this app changed last. */
  version: z.int().min(0),
  /** `scaled` apps get a routing cookie, `standard` ones have one slot and need none (R5.0). */
  affinity: z.boolean(),
  /** Why there may be no endpoint: what the page for people says. */
  status: z.enum(['running', 'starting', 'stopped', 'deleting']),
  /** How long a draining endpoint may finish its requests, in ms. */
  drainTimeoutMs: z.int().min(0),
  /** Traffic of this app is held back until it is resumed; durable, so that a router restart keeps holding. */
  held: z.boolean().default(false),
  /** Path of the active check; null asks `/` and takes any answer below 500: connecting alone cannot see a stopped process. */
  healthPath: healthPathSchema.nullable().default(null),
  /**
   * How long an instance may send no byte while somebody waits for one, in ms; after that it is given up and its sessions
   * move (R12.2). The app's own, because some apps compute for minutes.
   */
  silenceMs: z.int().min(1).default(DEFAULTS.silenceMs),
  /** The last rebalance: minted sessions whose rank is below their slot's fraction of the ranks are re-minted once. */
  rebalance: z
    .object({
      epoch: z.int().min(1),
      /** All slots that there were then: only who lived in one of them is moved. */
      slots: z.array(z.int().min(0)).default([]),
      /** Slot → fraction of the ranks (`shedRank`) that it sheds, 0 to 1. */
      shed: z.record(z.string(), z.number().min(0).max(1)),
    })
    .nullable()
    .default(null),
  /**
   * SHA-256 of the app's naming key, in hex: whoever shows the key is told which instance answers. Null: nobody is. The
   * table has no more than this, so that who can read it cannot ask.
   */
  namingDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable()
    .default(null),
  endpoints: z.array(endpointSchema),
})
export type AppRoute = z.infer<typeof appRouteSchema>

export const routeTableSchema = z.object({
  /** What one has to understand in order to apply this table. */
  protocol: protocol.max(PROTOCOL, `is of a newer program, this one understands ${PROTOCOL}`).default(1),
  /** Which inventory this table is of. */
  inventory: z.string().min(1),
  /** Grows by one with every change of any app's routes. */
  version: z.int().min(0),
  apps: z.array(appRouteSchema),
})
export type RouteTable = z.infer<typeof routeTableSchema>

/** Tables of one inventory are numbered; those of another cannot be compared. */
export const tableIdSchema = z.object({ inventory: z.string(), version: z.int().min(0) })
export type TableId = z.infer<typeof tableIdSchema>

/** Whether who has `has` has this table, or one that came after it. */
export const reaches = (has: TableId, table: TableId): boolean =>
  has.inventory === table.inventory && has.version >= table.version

/**
 * What a router tells the control plane: at least every 2 s as a sign of life (it renews the lease), at once when a
 * table is held or applied, and at once when a draining instance has nothing in flight any more.
 */
export const routerReportSchema = z.object({
  /** The newest that this router understands. */
  protocol: protocol.default(1),
  /** Stable name of this router (survives its restarts). */
  router: z.string().min(1).max(128),
  /** Changes with every start of the router. */
  incarnation: z.string().min(1).max(128),
  /** Of the table that is applied in all its processes and is on its disk. */
  inventory: z.string(),
  version: z.int().min(0),
  /**
   * A table that takes apps to other instances, which it has on its disk and puts into force at the control plane's word:
   * new requests of these apps wait in all its processes.
   */
  holding: tableIdSchema.nullable().default(null),
  /** Requests in flight by instance id, WebSockets and event streams included; instances with none are left out. */
  inFlight: z.record(z.string(), z.int().min(0)),
  /** Of those, the long-lived ones (WebSockets, event streams). */
  longLived: z.record(z.string(), z.int().min(0)).default({}),
  /** Sessions by instance id: routing keys seen in the last 30 minutes, as far as this router has counted them. */
  sessions: z.record(z.string(), z.int().min(0)).default({}),
  /** Of those, how many that a router minted have which rank (`shedRank`); instances without any are left out. */
  sessionRanks: z.record(z.string(), z.array(z.int().min(0)).length(SHED_RANKS)).default({}),
  /** Minted sessions moved by each rebalance so far, by `<app>/<epoch>`. */
  rebalanced: z.record(z.string(), z.int().min(0)).default({}),
  processes: z.int().min(0),
  /** Where people reach apps through this router, e.g. `http://127.0.0.1:8080`. */
  address: z.string(),
  /** Ports of apps that it cannot open, because another program has them: apps are not reached there. */
  takenPorts: z.array(z.int().min(1).max(65_535)).default([]),
  /**
   * Instances that have been silent past their app's limit, or have refused connections for as long, whether they were
   * ejected or not: the worker starts those again that stay so.
   */
  silent: z.array(z.string()).default([]),
  /** Slots per instance id that the active checks found down; people see it in the status of the app. */
  down: z.array(z.string()).default([]),
  /** A published table that it cannot apply: it serves the last one, and is not waited for (D32). */
  refused: z
    .object({ version: z.int().min(0).nullable(), reason: z.string().max(1000) })
    .nullable()
    .default(null),
  /** It stops on purpose: it is not waited for, and what is on its disk is the version above. */
  leaving: z.boolean().default(false),
})
export type RouterReport = z.infer<typeof routerReportSchema>

/** The control plane's answer to a report. */
export const reportAnswerSchema = z.object({
  protocol: protocol.default(1),
  /** The router is in the acknowledgement set. False: its table is not the current one; synchronise first. */
  counted: z.boolean(),
  inventory: z.string(),
  /** The current version. */
  version: z.int(),
  /** How long this report counts, in ms. */
  leaseMs: z.int(),
})
export type ReportAnswer = z.infer<typeof reportAnswerSchema>
