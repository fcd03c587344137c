import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Resolves when the file would survive a loss of power: written aside, synced, renamed, the directory synced. Whatever
 * goes wrong, the file is the old one or the new one, and nothing half is left on a disk that may be full.
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true })
  const aside = `${path}.new`
  try {
    const file = await open(aside, 'w', 0o600)
    try {
      await file.writeFile(text)
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(aside, path)
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {})
    throw error
  }
  const directory = await open(folder, 'r')
  try {
    await directory.datasync()
  } finally {
    await directory.close()
  }
}
