import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ScenarioResult } from '../runner/run-scenario.ts'

export async function writeReport(_results: ScenarioResult[], folder: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'report.html')
  await writeFile(file, '')
  return file
}
