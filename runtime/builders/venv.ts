import { join } from 'node:path'
import { removeTree } from '../artifacts/trees.ts'
import type { Job } from './job.ts'
import type { Interpreter } from './python-interpreter.ts'

/** What virtual environments are made with. */
export type Environment = {
  /** Absolute path of uv; asked only when something has to be made, because finding it takes time. */
  uv: () => Promise<string>
  interpreter: Interpreter
}

/** Makes the stage an empty virtual environment that works wherever it is moved to. */
export async function makeVenv(job: Job, { uv, interpreter }: Environment): Promise<null> {
  await job.run(
    [await uv(), 'venv', '--quiet', '--relocatable', '--no-project', '--python', interpreter.path, job.stage.tree],
    { cwd: job.stage.scratch, name: `uv venv (Python ${interpreter.version})` },
  )
  await tidy(job)
  return null
}

/** Takes out what uv leaves for its own later use; a sealed layer has none. */
export async function tidy({ stage }: Job): Promise<void> {
  for (const name of ['.lock', '.gitignore', 'CACHEDIR.TAG']) await removeTree(join(stage.tree, name))
}

export function pythonOf({ stage }: Job): string {
  return join(stage.tree, 'bin', 'python')
}
