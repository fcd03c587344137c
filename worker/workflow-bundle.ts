/**
 * The workflows as one bundle, kept by the digest of what goes into it: bundling costs about a second of every start
 * otherwise, and the bundle a saga runs on is then a file that can be looked at.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { bundleWorkflowCode, type WorkflowBundlePath } from '@temporalio/worker'

const PROGRAM = resolve(import.meta.dirname, '..')

export async function workflowBundle(cacheDir: string): Promise<WorkflowBundlePath> {
  const codePath = join(cacheDir, `workflows-${await digestOfInputs()}.cjs`)
  if (!existsSync(codePath)) {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(PROGRAM, 'workflows', 'index.ts'),
      logger: { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    })
    await mkdir(cacheDir, { recursive: true })
    for (const old of await readdir(cacheDir))
      if (old.startsWith('workflows-')) await rm(join(cacheDir, old), { force: true })
    const aside = `${codePath}.${process.pid}`
    await writeFile(aside, code)
    await rename(aside, codePath)
  }
  return { codePath }
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
