import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { asDiskFull } from '../../domain/disk-full.ts'
import { isSameFile } from '../../store/home-id.ts'
import { homePaths, type StackOptions } from '../stack-options.ts'
import type { ProcessRecord } from './supervised.ts'

/** The processes of a stack, in the order in which they are started. */
export const PROCESS_NAMES = ['temporal', 'control', 'router', 'worker'] as const
export type ProcessName = (typeof PROCESS_NAMES)[number]

/**
 * `run/state.json`: what a starter has started, for a second one to attach to and, once it is dead, for its successor
 * to adopt. Written before a new process is let go, so nothing of ours runs that is not in it; only on a full disk it may
 * be later.
 */
export type StackState = {
  /** Grows when an older program could misread it. */
  format: 1
  starter: { pid: number; startTime: string }
  phase: 'starting' | 'ready' | 'stopping'
  options: StackOptions
  processes: Partial<Record<ProcessName, ProcessRecord>>
  /** Of those that ended by themselves under this starter: the last few of each, newest last. `at` in Unix ms. */
  exits?: Partial<Record<ProcessName, Exit[]>>
}

export type Exit = { at: number; how: string }

const KEEP_EXITS = 10

export function noteExit(state: StackState, name: ProcessName, exit: Exit): void {
  state.exits ??= {}
  state.exits[name] = [...(state.exits[name] ?? []), exit].slice(-KEEP_EXITS)
}

/** So many in so long are no accident any more. */
const FALLING_EXITS = 3
const FALLING_WITHIN_MS = 10 * 60_000

/** Which of them are started again and again. */
export function falling(state: StackState, now: number): Array<{ name: ProcessName; exits: number; how: string }> {
  return PROCESS_NAMES.flatMap((name) => {
    const exits = (state.exits?.[name] ?? []).filter(({ at }) => Math.abs(now - at) < FALLING_WITHIN_MS)
    const last = exits.at(-1)
    return last === undefined || exits.length < FALLING_EXITS ? [] : [{ name, exits: exits.length, how: last.how }]
  })
}

export function readState(file: string): StackState | null {
  const state = parse(file)
  return state === null || isCopy(file, state) ? null : state
}

function parse(file: string): StackState | null {
  if (!existsSync(file)) return null
  try {
    const state = JSON.parse(readFileSync(file, 'utf8')) as StackState
    return state.format === 1 ? state : null
  } catch {
    return null
  }
}

/**
 * Who copies a data directory while a platform runs on it copies this file too. What it names is the original's, as long
 * as the original names any of it; a data directory that was renamed has none at the old place, or another one.
 */
function isCopy(file: string, state: StackState): boolean {
  const original = homePaths(state.options.home).state
  if (original === file) return false
  const there = parse(original)
  if (there === null || isSameFile(original, file)) return false
  const named = namedIn(there)
  return namedIn(state).some((process) => named.includes(process))
}

const namedIn = ({ starter, processes }: StackState): string[] =>
  [starter, ...Object.values(processes)].map(({ pid, startTime }) => `${pid} ${startTime}`)

/** The file has whole blocks, so that a later state has room in it. */
const BLOCK_BYTES = 4096

/**
 * Durable when it returns: a power cut leaves the old state or the new one. On a full disk the old one is overwritten in
 * its place, which needs no room: to know what runs is worth more there than the power cut.
 *
 * @throws what the system says when not even that can be done
 */
export function writeState(file: string, state: StackState): void {
  const text = Buffer.from(`${JSON.stringify(state, null, 2)}\n`)
  const padded = Buffer.alloc(Math.ceil(text.length / BLOCK_BYTES) * BLOCK_BYTES, ' ')
  text.copy(padded)
  try {
    replace(file, padded)
  } catch (error) {
    if (asDiskFull(error) === null || !existsSync(file)) throw error
    const size = statSync(file).size
    if (text.length > size) throw error
    overwrite(file, Buffer.concat([text, Buffer.alloc(size - text.length, ' ')]))
  }
}

function replace(file: string, text: Buffer): void {
  const folder = dirname(file)
  mkdirSync(folder, { recursive: true })
  const draft = `${file}.${process.pid}.draft`
  try {
    writeDurably(openSync(draft, 'w', 0o600), text)
    renameSync(draft, file)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  const place = openSync(folder, 'r')
  try {
    fsyncSync(place)
  } finally {
    closeSync(place)
  }
}

const overwrite = (file: string, text: Buffer): void => writeDurably(openSync(file, 'r+'), text)

/** Closes the descriptor. A disk that is nearly full takes a part, and only then says that there is no room. */
function writeDurably(descriptor: number, text: Buffer): void {
  try {
    for (let at = 0; at < text.length; ) at += writeSync(descriptor, text, at, text.length - at, at)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
