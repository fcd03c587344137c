import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { StackOptions } from '../stack-options.ts'
import type { ProcessRecord } from './supervised.ts'

/** The processes of a stack, in the order in which they are started. */
export const PROCESS_NAMES = ['temporal', 'control', 'router', 'worker'] as const
export type ProcessName = (typeof PROCESS_NAMES)[number]

/**
 * `run/state.json`: what a starter has started, for a second one to attach to and, once it is dead, for its successor
 * to adopt. Written before a new process is let go, so nothing of ours ever runs that is not in it.
 */
export type StackState = {
  /** Grows when an older program could misread it. */
  format: 1
  starter: { pid: number; startTime: string }
  phase: 'starting' | 'ready' | 'stopping'
  options: StackOptions
  processes: Partial<Record<ProcessName, ProcessRecord>>
}

export function readState(file: string): StackState | null {
  if (!existsSync(file)) return null
  try {
    const state = JSON.parse(readFileSync(file, 'utf8')) as StackState
    return state.format === 1 ? state : null
  } catch {
    return null
  }
}

/** Durable when it returns: a power cut leaves the old state or the new one. */
export function writeState(file: string, state: StackState): void {
  const folder = dirname(file)
  mkdirSync(folder, { recursive: true })
  const draft = `${file}.${process.pid}.draft`
  const descriptor = openSync(draft, 'w', 0o600)
  try {
    writeSync(descriptor, `${JSON.stringify(state, null, 2)}\n`)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  renameSync(draft, file)
  const place = openSync(folder, 'r')
  try {
    fsyncSync(place)
  } finally {
    closeSync(place)
  }
}
