import { fastapiSession } from './session.ts'
import { busySuite } from './suite.ts'

busySuite({
  name: 'fastapi',
  open: fastapiSession,
  block: 'block',
  deadlock: 'deadlock',
  computationBlocks: true,
  repeatable: true,
})
