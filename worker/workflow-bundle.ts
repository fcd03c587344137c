/**
 * The workflows as one bundle, kept by the digest of what goes into it: bundling costs about a second of every start
 * otherwise, and the bundle a saga runs on is then a file that can be looked at.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { bundleWorkflowCode, type WorkflowBundle } from '@temporalio/worker'
import { asDiskFull } from '../domain/disk-full.ts'

const PROGRAM = resolve(import.meta.dirname, '..')

/** Beside the program, so that a new data directory need not wait for it; set-up makes it there. */
const PROGRAM_CACHE = join(PROGRAM, 'node_modules', '.cache', 'coppice')

/** @param fallbackDir where it is kept when the folder of the program cannot be written. */
export async function workflowBundle(fallbackDir: string): Promise<WorkflowBundle> {
  try {
    return await bundleIn(PROGRAM_CACHE)
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    return bundleIn(fallbackDir)
  }
}

async function bundleIn(cacheDir: string): Promise<WorkflowBundle> {
  const codePath = join(cacheDir, `workflows-${await digestOfInputs()}.cjs`)
  if (!existsSync(codePath)) {
    await mkdir(cacheDir, { recursive: true })
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(PROGRAM, 'workflows', 'index.ts'),
      logger: { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    })
    for (const old of await readdir(cacheDir))
      if (old.startsWith('workflows-')) await rm(join(cacheDir, old), { force: true })
    const aside = `${codePath}.${process.pid}`
    try {
      await writeFile(aside, code)
      await rename(aside, codePath)
    } catch (error) {
      await rm(aside, { force: true })
      if (asDiskFull(error) === null) throw error
      // It is made anew next time; sagas go on now.
      return { code }
    }
  }
  // Read once: the file may give way to that of a newer program while this worker runs.
  return { code: await readFile(codePath, 'utf8') }
}

/** Everything that the bundle is made from: our folders, and the lock file for the packages. */
async function digestOfInputs(): Promise<string> {
  const hash = createHash('sha256')
  const files = [join(PROGRAM, 'package-lock.json')]
  for (const folder of ['workflows', 'domain'])
    for (const name of await readdir(join(PROGRAM, folder)))
      if (name.endsWith('.ts') && !name.endsWith('.test.ts')) files.push(join(PROGRAM, folder, name))
  for (const file of files.sort()) hash.update(`${file.slice(PROGRAM.length)}\0`).update(await readFile(file))
  return hash.digest('hex').slice(0, 16)
}
