/**
 * What the load tests promise, in one place: each metric and each finding names the rule of docs/rules.md that it
 * proves, and says in words what must not happen. No imports, so that k6 and the runner both can load it.
 */

export type Promised = { rule: string; words: string }

/**
 * Parts of the answers, counted by k6, without which a promise cannot be judged: who gave them, of which version, where
 * WebSockets lead. Each with what is missing where it is not there.
 */
export const NEEDED = {
  answers_placed: 'did not say which instance gave them (INSTANCE_AT)',
  answers_versioned: 'did not say of which version they are (VERSION_AT)',
  sockets_placed: 'did not say in a message which instance they lead to (INSTANCE_AT)',
} as const

export type Needed = keyof typeof NEEDED

/** Fewer than this proves nothing about all. */
export const LEAST_KNOWN = 0.99

/** Counted by k6 while it runs; a threshold of `count==0` each. `needs`: without that a count of 0 says nothing. */
export const METRIC_PROMISES = {
  affinity_broken: {
    rule: 'R7.1, R7.2',
    words: 'answers from elsewhere although nothing had changed',
    needs: ['answers_placed'],
  },
  key_replaced: { rule: 'R7.2, R8.1', words: 'keys replaced that clients had chosen' },
  cookie_unguarded: { rule: 'R7.4', words: 'routing cookies that scripts could read, or that outlive the browser' },
  lost_repeatable: { rule: 'R1.2, R12.1', words: 'requests that may be repeated without a good answer' },
  lost_other: { rule: 'R3.4', words: 'requests that must not be repeated without a good answer' },
  refused: { rule: 'R1.2', words: 'requests that were refused with 503, so that no instance had them' },
  old_version_after_new: {
    rule: 'R3.4',
    words: 'answers of the old version after the new one',
    needs: ['answers_versioned'],
  },
  socket_elsewhere: {
    rule: 'R7.3',
    words: 'WebSockets, streams, uploads away from their session',
    needs: ['answers_placed', 'sockets_placed'],
  },
  socket_refused: { rule: 'R7.3', words: 'WebSockets that could not be opened' },
  stream_cut: { rule: 'R7.3', words: 'event streams that were cut' },
  socket_cut: { rule: 'R6.2', words: 'WebSockets that were cut without a goodbye' },
  socket_silent: { rule: 'R7.3', words: 'messages on open WebSockets that were not echoed' },
} as const satisfies Record<string, Promised & { needs?: readonly Needed[] }>

export type PromiseMetric = keyof typeof METRIC_PROMISES

export const needsOf = (metric: PromiseMetric): readonly Needed[] => {
  const promise: Promised & { needs?: readonly Needed[] } = METRIC_PROMISES[metric]
  return promise.needs ?? []
}

/** Found by the runner afterwards, from what clients, routers and app wrote down. */
export const FINDING_PROMISES = {
  lost: { rule: 'R1.2, R12.1', words: 'requests lost that need not have been' },
  hidden_retry: {
    rule: 'R1.2',
    words: 'connections lost in mid-request and asked again unnoticed',
  },
  executed_twice: { rule: 'R12.1, R12.2', words: 'requests executed more often than they may be' },
  ejected_while_busy: { rule: 'R12.2', words: 'instances that were ejected although they were only busy' },
  moved_needlessly: { rule: 'R8.2', words: 'answers from a slot where the key does not belong' },
  key_replaced: { rule: 'R8.1', words: 'keys replaced although the session had not to move' },
  cookie_passed_on: { rule: 'R7.4', words: 'requests that reached the app with the routing cookie' },
  rebalanced_beyond_plan: { rule: 'R8.3', words: 'rebalances that moved more sessions than planned' },
  old_version_after_new: { rule: 'R3.4', words: 'answers of the old version after the new one' },
  answered_after_drain: { rule: 'R6.2', words: 'answers of an instance that had left' },
  answered_before_ready: { rule: 'R3.3', words: 'answers of an instance before it was part of the app' },
  slow_failover: { rule: 'R12.2', words: 'requests that waited too long for another instance' },
  uneven: { rule: 'R1.1', words: 'instances with far less than their share of sessions' },
  operation_failed: { rule: 'R10.1', words: 'operations that ended otherwise than they should' },
  left_behind: { rule: 'R10.2', words: 'things left behind: processes, directories, descriptors, memory' },
  not_carried_out: {
    rule: 'R11.1',
    words: 'faults or changes that nobody noticed (so nothing was proved)',
  },
} as const satisfies Record<string, Promised>

export type FindingKind = keyof typeof FINDING_PROMISES
