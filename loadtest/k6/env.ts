import { SharedArray } from 'k6/data'
import { readSettings, type Settings } from './settings.ts'

/** Every virtual user reads the settings for itself; a seed that is drawn must be the same for all. */
export const settingsFromEnv = (): Settings =>
  readSettings(__ENV, () => new SharedArray('seed', () => [Math.floor(Math.random() * 1e9)])[0] as number)
