import { streamlitSession } from './session.ts'
import { busySuite } from './suite.ts'

// Streamlit runs scripts in threads: only what keeps Python's lock blocks its event loop.
busySuite({
  name: 'streamlit',
  open: streamlitSession,
  block: 'freeze',
  deadlock: 'freeze-for-ever',
  computationBlocks: false,
  repeatable: false,
})
