import { basename } from 'node:path'
import { pino } from 'pino'
import { createProcessProvider } from '../../runtime/providers/process/process-provider.ts'
import { TestPorts } from './test-ports.ts'

/**
 * A worker that starts one instance and stands still at a crash point, where the test kills it.
 * Arguments: root of the bench, crash point, spec as JSON.
 */
const [root = '', point, spec = ''] = process.argv.slice(2)
const provider = createProcessProvider({
  home: `${root}/instances`,
  homeId: basename(root),
  logsDir: `${root}/logs`,
  ports: new TestPorts(`${root}/ports.json`),
  logger: pino({ level: 'silent' }),
  crashPoint: async (reached) => {
    if (reached !== point) return
    process.stdout.write(`${reached}\n`)
    await new Promise((resolve) => setTimeout(resolve, 600_000))
  },
})
await provider.ensure(JSON.parse(spec))
