import { randomBytes } from 'node:crypto'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Names one directory of instances. The random part is its own, the inode keeps a copy of the directory (`cp -r`, a
 * restored backup) from taking the original's processes for its own; a rename changes neither.
 */
export async function homeMarker(
  home: string,
  random: () => string = () => randomBytes(8).toString('hex'),
): Promise<string> {
  await mkdir(home, { recursive: true, mode: 0o700 })
  const path = join(home, '.marker')
  const drawn = random()
  try {
    await writeFile(path, drawn, { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const { ino } = await stat(home)
  return `${(await readFile(path, 'utf8')).trim() || 'unmarked'}-${ino}`
}
