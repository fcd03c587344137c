/**
 * What the load tests promise, in one place: each metric and each finding names the rule of docs/rules.md that it
 * proves, and says in words what must not happen. No imports, so that k6 and the runner both can load it.
 */

export type Promised = { rule: string; words: string }

/** Counted by k6 while it runs; a threshold of `count==0` each. */
export const METRIC_PROMISES = {
  affinity_broken: { rule: 'R7.1, R7.2', words: 'answers from elsewhere although nothing had changed' },
  key_replaced: { rule: 'R7.2, R8.1', words: 'keys replaced that clients had chosen' },
  lost_repeatable: { rule: 'R1.2, R12.1', words: 'requests that may be repeated without a good answer' },
  lost_other: { rule: 'R3.4', words: 'requests that must not be repeated without a good answer' },
  old_version_after_new: { rule: 'R3.4', words: 'answers of the old version to clients that had seen the new one' },
  socket_elsewhere: { rule: 'R7.3', words: 'WebSockets, streams or uploads on another instance than their session' },
  socket_refused: { rule: 'R7.3', words: 'WebSockets that could not be opened' },
  socket_cut: { rule: 'R6.2', words: 'WebSockets that were cut without a goodbye' },
  socket_silent: { rule: 'R7.3', words: 'messages on open WebSockets that were not echoed' },
} as const satisfies Record<string, Promised>

export type PromiseMetric = keyof typeof METRIC_PROMISES

/** Found by the runner afterwards, from what clients, routers and app wrote down. */
export const FINDING_PROMISES = {
  lost: { rule: 'R1.2, R12.1', words: 'requests that were lost and need not have been' },
  hidden_retry: {
    rule: 'R1.2',
    words: 'requests whose connection was lost, which the load generator hid by asking again',
  },
  executed_twice: { rule: 'R12.1', words: 'requests that must not be repeated and were executed twice' },
  moved_needlessly: { rule: 'R8.2', words: 'requests that were answered by a slot where their key does not belong' },
  key_replaced: { rule: 'R8.1', words: 'keys that were replaced although their session had not to move' },
  old_version_after_new: { rule: 'R3.4', words: 'answers of the old version to clients that had seen the new one' },
  answered_after_drain: { rule: 'R6.2', words: 'answers of an instance that had already left' },
  answered_before_ready: { rule: 'R3.3', words: 'answers of an instance before it was made part of the app' },
  slow_failover: { rule: 'R12.2', words: 'requests that waited longer for another instance than an ejection may take' },
  uneven: { rule: 'R1.1', words: 'instances that got far less than their share of the new sessions' },
  operation_failed: { rule: 'R10.1', words: 'operations that did not end as they should' },
  not_carried_out: {
    rule: 'R11.1',
    words: 'faults or changes that had no effect on the traffic, so that nothing was proved',
  },
} as const satisfies Record<string, Promised>

export type FindingKind = keyof typeof FINDING_PROMISES
