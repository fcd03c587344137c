import { assertNever } from '../domain/states.ts'
import type { InstanceRecord } from './contracts.ts'

/** What the reconciler does about an instance, and why. */
export type Verdict =
  /** An open operation sees to it. */
  | 'leave'
  /** It should be up: adopt it, or start it again when its back-off is over. */
  | 'keepUp'
  /** It has no business here. */
  | 'remove'

/** `record` is null when something of the instance exists, but the inventory does not know it. */
export function verdict(
  record: Pick<InstanceRecord, 'desired' | 'role' | 'operationOpen' | 'address'> | null,
): Verdict {
  if (record === null) return 'remove'
  switch (record.desired) {
    case 'retired':
      return record.operationOpen ? 'leave' : 'remove'
    case 'running':
      if (record.role !== 'standby') return 'keepUp'
      // Its operation ended without putting it into a table or taking it away, so nobody else ever will.
      if (!record.operationOpen) return 'remove'
      // It has an address once it was healthy: until then its start is a step of the saga, then a crash is ours.
      return record.address === null ? 'leave' : 'keepUp'
    default:
      return assertNever(record.desired)
  }
}
