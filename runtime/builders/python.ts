import type { Inspection } from './inspect.ts'
import type { Ensured, Workshop } from './job.ts'
import type { Caller } from './single-flight.ts'

export type PythonOptions = {
  /** File with the libraries that standard apps find installed, one requirement a line; absolute. */
  preinstalledFile: string
}

export type PythonLayers = { preinstalled: Ensured | null; dependencies: Ensured | null }

export async function pythonLayers(
  _workshop: Workshop,
  _options: PythonOptions,
  _request: { source: string; inspection: Inspection; preinstalled: boolean },
  _caller: Caller,
): Promise<PythonLayers> {
  throw new Error('to come')
}
