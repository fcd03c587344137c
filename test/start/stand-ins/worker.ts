/** Stands in for the worker: says when it is ready, and tells in its log which signal ended it. */
import { writeFileSync } from 'node:fs'

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    console.log(`ended by ${signal}`)
    process.exit(0)
  })
}
setInterval(() => {}, 1_000)
writeFileSync(process.env.COPPICE_READY_FILE as string, String(process.pid))
