import { Counter, Rate, Trend } from 'k6/metrics'
import { LEAST_KNOWN, type Needed, needsOf, type PromiseMetric } from '../promises.ts'

/** The metrics of all scenarios, declared once; what each of them proves: `../promises.ts`. */
export const metrics = {
  /** Tagged with instance, version and method. */
  requests: new Counter('app_requests'),
  /** Requests without a good answer; tagged likewise. */
  errors: new Counter('app_errors'),
  /** How long answers took. */
  requestMs: new Trend('request_ms', true),
  /** Sessions that were answered by another slot than before. */
  sessionsMoved: new Counter('sessions_moved'),
  /** How long the request took that brought a session to its new slot. */
  failoverMs: new Trend('failover_ms', true),
  socketsOpened: new Counter('sockets_opened'),
  socketsReopened: new Counter('sockets_reopened'),
} as const

/** One counter for each broken promise. */
export const broken: Record<PromiseMetric, Counter> = {
  affinity_broken: new Counter('affinity_broken'),
  cookie_unguarded: new Counter('cookie_unguarded'),
  key_replaced: new Counter('key_replaced'),
  lost_repeatable: new Counter('lost_repeatable'),
  lost_other: new Counter('lost_other'),
  refused: new Counter('refused'),
  old_version_after_new: new Counter('old_version_after_new'),
  socket_elsewhere: new Counter('socket_elsewhere'),
  socket_refused: new Counter('socket_refused'),
  stream_cut: new Counter('stream_cut'),
  socket_cut: new Counter('socket_cut'),
  socket_silent: new Counter('socket_silent'),
}

/** Of how many good answers, and of how many WebSockets, it is known. */
export const known: Record<Needed, Rate> = {
  answers_placed: new Rate('answers_placed'),
  answers_versioned: new Rate('answers_versioned'),
  sockets_placed: new Rate('sockets_placed'),
}

/** Thresholds that fail the run when one of these promises is broken, or cannot be judged. */
export const never = (...promises: PromiseMetric[]): Record<string, string[]> => ({
  ...Object.fromEntries(promises.flatMap(needsOf).map((needed) => [needed, [`rate>=${LEAST_KNOWN}`]])),
  ...Object.fromEntries(promises.map((promise) => [promise, ['count==0']])),
  dropped_iterations: ['count==0'],
})
