import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { backupBoundsFrom } from '../store/settings.ts'
import { backUp } from './backup/back-up.ts'
import { ROOT } from './stack-options.ts'

/** `coppice backup [FILE]`: prints the file. See backup/archive.ts for what is in it. */
const { values, positionals } = parseArgs({ options: { home: { type: 'string' } }, allowPositionals: true })

try {
  const home = resolve(values.home ?? join(ROOT, '.coppice'))
  const { file, kept, missing } = await backUp(home, positionals[0] ?? null, Date.now, backupBoundsFrom(process.env))
  process.stderr.write(`Backed up the inventory, its key, the token and ${kept} artifacts and sources.\n`)
  process.stderr.write('Whoever has this file can do everything that you can, and read every secret.\n')
  if (positionals[0] === undefined)
    process.stderr.write(
      'It lies in the data directory, which coppice down --purge removes: copy it to another disk.\n',
    )
  if (missing.length > 0) process.stderr.write(`Not there any more; built again when needed: ${missing.join(', ')}\n`)
  process.stdout.write(`${file}\n`)
} catch (error) {
  const known = error instanceof CoppiceError
  process.stderr.write(`${known ? error.message : ((error as Error).stack ?? error)}\n`)
  process.exitCode = known ? 2 : 1
}
