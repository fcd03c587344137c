/** The workflow types of the task queue; a type is the name of its export. */
import { workflowInfo } from '@temporalio/workflow'
import { unknownType } from '../domain/inputs.ts'
import { answering } from './operation.ts'

export { convert } from './convert.ts'
export { deleteApp as delete } from './delete.ts'
export { deploy } from './deploy.ts'
export { repair } from './repair.ts'
export { resize } from './resize.ts'
export { restart } from './restart.ts'
export { rollback } from './rollback.ts'
export { start } from './start.ts'
export { stop } from './stop.ts'

/** Answers a type that nobody knows; without it such a workflow would look as if it ran, for ever (R10.5). */
export default async function unknown(): Promise<never> {
  return answering(async () => {
    throw unknownType(workflowInfo().workflowType)
  })
}
