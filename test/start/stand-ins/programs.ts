import { join } from 'node:path'
import type { Programs } from '../../../scripts/stack/processes.ts'

const at = (name: string): string => join(import.meta.dirname, `${name}.ts`)

export const standIns = (other: Programs = {}): Programs => ({
  control: at('control'),
  router: at('router'),
  worker: at('worker'),
  ...other,
})

export const brokenProgram = at('broken')
