/** What is left when all is over (R10.2). */
import type { Finding } from './finding.ts'

export type Footprint = {
  instanceProcesses: number
  instanceDirectories: number
  /** Of the platform, their children included. */
  processes: Record<string, { megabytes: number; descriptors: number }>
}

/** What a busy hour may add; a leak of one a request or an operation is far beyond it in a run of minutes. */
const SPARE_DESCRIPTORS = 60
const SPARE_MEGABYTES = 60
const MEMORY_RATIO = 1.5

/**
 * @param before after the warm-up
 * @param after when the load is over and every operation has ended
 * @param instances how many there should be
 * @param at when `after` was taken, Unix ms
 */
export function leaks(before: Footprint, after: Footprint, instances: number, at: number): Finding[] {
  const findings: Finding[] = []
  const tell = (message: string) => findings.push({ kind: 'left_behind', at, message })
  if (after.instanceProcesses !== instances) {
    tell(`${after.instanceProcesses} processes of instances run, ${instances} should`)
  }
  if (after.instanceDirectories !== instances) {
    tell(`${after.instanceDirectories} directories of instances are there, ${instances} should be`)
  }
  for (const [name, now] of Object.entries(after.processes)) {
    const then = before.processes[name]
    if (then === undefined) continue
    if (now.descriptors > then.descriptors + SPARE_DESCRIPTORS) {
      tell(`${name} holds ${now.descriptors} descriptors, ${then.descriptors} before`)
    }
    if (now.megabytes > then.megabytes * MEMORY_RATIO + SPARE_MEGABYTES) {
      tell(`${name} takes ${now.megabytes} MB, ${then.megabytes} before`)
    }
  }
  return findings
}
