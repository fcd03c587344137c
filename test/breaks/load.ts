import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Break } from './break.ts'

const NOT_BREAKS = new Set(['break.ts', 'load.ts', 'run.ts', 'scratch.ts'])

export type NamedBreak = { name: string; broken: Break }

export async function loadBreaks(folder: string = import.meta.dirname): Promise<NamedBreak[]> {
  const files = readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !NOT_BREAKS.has(file))
    .sort()
  return Promise.all(
    files.map(async (file) => {
      const { broken } = (await import(pathToFileURL(join(folder, file)).href)) as { broken?: Break }
      if (broken === undefined) throw new Error(`test/breaks/${file} exports no "broken"`)
      return { name: file.slice(0, -'.ts'.length), broken }
    }),
  )
}
