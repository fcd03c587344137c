/** A starter of its own process, to be killed: home as argument, options as JSON. */
import { startStack } from '../../../scripts/stack/stack.ts'
import { standIns } from './programs.ts'

const [home, options] = process.argv.slice(2) as [string, string]
const stack = await startStack({ home, ports: JSON.parse(options), programs: standIns() })
console.log(JSON.stringify(stack.pids))
setInterval(() => {}, 1_000)
