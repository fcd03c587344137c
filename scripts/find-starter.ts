import { isAlive, systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { falling, readState } from './stack/state-file.ts'
import { homePaths } from './stack-options.ts'

/** `node scripts/find-starter.ts HOME`: for `coppice doctor`, as JSON, who started what runs there; null for nobody. */
const state = readState(homePaths(process.argv[2] as string).state)
const row = state && (await systemProcessTable().row(state.starter.pid))
const found = state && {
  pid: state.starter.pid,
  phase: state.phase,
  apiUrl: `http://127.0.0.1:${state.options.apiPort}`,
  // By its start time too: another program may have got its number.
  alive: await isAlive(systemProcessTable(), state.starter.pid, state.starter.startTime),
  stopped: row?.stopped === true,
  falling: falling(state, Date.now()),
}
process.stdout.write(`${JSON.stringify(found)}\n`)
