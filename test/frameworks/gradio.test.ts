import { gradioSession } from './session.ts'
import { busySuite } from './suite.ts'

busySuite({
  name: 'gradio',
  open: gradioSession,
  block: 'block',
  deadlock: 'deadlock',
  computationBlocks: true,
  repeatable: false,
})
