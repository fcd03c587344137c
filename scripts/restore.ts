import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CoppiceError, withHint } from '../domain/errors.ts'
import { putBack } from './backup/put-back.ts'
import { ROOT } from './stack-options.ts'

/** `coppice restore FILE`: into an empty data directory, on which nothing runs. */
const { values, positionals } = parseArgs({ options: { home: { type: 'string' } }, allowPositionals: true })

try {
  const home = resolve(values.home ?? join(ROOT, '.coppice'))
  const [file] = positionals
  if (file === undefined) throw new CoppiceError('InvalidInput', 'Name the file of the backup', { field: 'file' })
  const { createdAt } = await putBack(resolve(file), home)
  process.stdout.write(`${home} is as it was at ${createdAt}. Start it: coppice up\n`)
} catch (error) {
  const known = error instanceof CoppiceError
  const words = !known
    ? ((error as Error).stack ?? error)
    : error.code === 'InvalidInput'
      ? error.message
      : withHint(error.code, error.message)
  process.stderr.write(`${words}\n`)
  process.exitCode = known ? 2 : 1
}
