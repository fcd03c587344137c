import { dashSession } from './session.ts'
import { busySuite } from './suite.ts'

busySuite({
  name: 'dash',
  open: dashSession,
  block: 'block',
  deadlock: 'deadlock',
  computationBlocks: true,
  repeatable: true,
})
