/** Whether old and new follow each other as they must (R3.3, R3.4, R6.2). */
import type { Attempt } from '../history-line.ts'
import { type Finding, finding } from './finding.ts'
import { SKEW_MS, tableTimes, type World } from './world.ts'

/** Answers of an older version to a client that had a newer one's before it asked. */
export function oldAfterNew(history: Attempt[], world: World): Finding[] {
  const age = new Map(world.versions.map((version, index) => [version, index]))
  const byClient = new Map<string, Attempt[]>()
  for (const attempt of history) {
    const list = byClient.get(attempt.client)
    if (list === undefined) byClient.set(attempt.client, [attempt])
    else list.push(attempt)
  }
  const findings: Finding[] = []
  for (const attempts of byClient.values()) {
    for (const attempt of attempts) {
      const own = age.get(attempt.version ?? '')
      if (own === undefined) continue
      const newer = attempts.find(
        (other) => other.endedAt <= attempt.startedAt && (age.get(other.version ?? '') ?? -1) > own,
      )
      if (newer === undefined) continue
      const words = `version ${attempt.version} answered a client that had been answered by ${newer.version}`
      findings.push(finding('old_version_after_new', attempt, words))
    }
  }
  return findings
}

/**
 * Answers of instances outside the time in which they are part of the app: begun after every router had acknowledged
 * a table in which they get nothing new, or complete before the first table that has them.
 */
export function outsideItsTime(history: Attempt[], world: World): Finding[] {
  const lives = livesOf(world)
  const findings: Finding[] = []
  for (const attempt of history) {
    if (attempt.instance === null || lives.size === 0) continue
    const life = lives.get(attempt.instance)
    if (life === undefined) {
      findings.push(
        finding('answered_before_ready', attempt, `${attempt.instance} answered and was never part of the app`),
      )
    } else if (attempt.endedAt < life.from) {
      const words = `${attempt.instance} answered ${life.from - attempt.endedAt} ms before it was made part of the app`
      findings.push(finding('answered_before_ready', attempt, words))
    } else if (attempt.startedAt > life.to) {
      const words = `${attempt.instance} answered a request that began ${attempt.startedAt - life.to} ms after it had left`
      findings.push(finding('answered_after_drain', attempt, words))
    }
  }
  return findings
}

function livesOf(world: World): Map<string, { from: number; to: number }> {
  const lives = new Map<string, { from: number; to: number }>()
  for (const { table, from, to } of tableTimes(world)) {
    for (const { instance, state } of table.endpoints) {
      if (state !== 'serving') continue
      const life = lives.get(instance)
      if (life === undefined) lives.set(instance, { from: from - SKEW_MS, to })
      else life.to = Math.max(life.to, to)
    }
  }
  return lives
}

export function operationsFailed(world: World): Finding[] {
  return world.operations
    .filter(({ state, wanted }) => state !== wanted)
    .map(({ type, id, state, wanted, failure, startedAt }) => ({
      kind: 'operation_failed' as const,
      at: startedAt,
      message: `${type} ${id} is ${state}, wanted was ${wanted}${failure === null ? '' : `: ${failure}`}`,
    }))
}
