/** Bundles the workflows ahead of the first start; run by set-up, and harmless to leave out. */
import { tmpdir } from 'node:os'
import { workflowBundle } from './workflow-bundle.ts'

await workflowBundle(tmpdir())
