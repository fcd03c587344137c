import { CoppiceError } from './errors.ts'

/** The longest wait that a timer of Node takes, in ms; with a longer one it fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

export type Range = {
  min: number
  max: number
  /** In words, e.g. `ms`. */
  unit?: string
  /** What 0 stands for, in words, where it is taken besides. */
  zero?: string
}

/**
 * The number that somebody gave for `option`. Every process reads its numeric options through this: what is no number
 * becomes NaN otherwise, and a wait of NaN ms is none.
 *
 * @param option as people know it, e.g. the name of a variable.
 * @throws CoppiceError InvalidInput with the option, what was given, and what it takes.
 */
export function wholeNumber(option: string, text: string, { min, max, unit, zero }: Range, field = option): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if ((value >= min && value <= max) || (value === 0 && zero !== undefined)) return value
  const what = unit === undefined ? 'a whole number' : `a whole number of ${unit}`
  const none = zero === undefined ? '' : `, or 0 for ${zero}`
  const message = `${option} is "${text}"; it takes ${what} from ${min} to ${max}${none}`
  throw new CoppiceError('InvalidInput', message, { field })
}
