/** What every command has at hand. */
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import { Api, type OperationAnswer } from './api.ts'
import { EXIT } from './failure.ts'
import { follow } from './follow.ts'
import { Output, type Streams } from './output.ts'
import { type GlobalFlags, resolveSettings, type Settings } from './settings.ts'

export type Context = {
  settings: Settings
  api: Api
  output: Output
  env: NodeJS.ProcessEnv
  stdin: Readable & { isTTY?: boolean }
}

export type Surroundings = {
  env: NodeJS.ProcessEnv
  streams: Streams
  stdin: Readable & { isTTY?: boolean }
  color: boolean
}

export function openContext(command: Command, { env, streams, stdin, color }: Surroundings): Context {
  const flags = command.optsWithGlobals<GlobalFlags>()
  const settings = resolveSettings(flags, env)
  return {
    settings,
    env,
    stdin,
    api: new Api(settings),
    output: new Output(streams, { json: flags.output === 'json', color }),
  }
}

/** Raised by Ctrl-C; the message has been shown. */
export class Interrupted extends Error {
  readonly exitCode = EXIT.interrupted
}

/**
 * Waits for an operation, unless that is not wanted. Ctrl-C ends the waiting, never the operation.
 *
 * @returns null when it was not waited for.
 */
export async function waitFor(
  { api, output }: Context,
  operation: { id: string; words: string },
  options: { wait: boolean },
): Promise<OperationAnswer | null> {
  const { id, words } = operation
  const later = [`  watch it:  coppice operations watch ${id}`, `  cancel it: coppice operations cancel ${id}`]
  if (!options.wait) {
    output.note(`The ${words} runs as ${id}.`)
    for (const line of later) output.note(line)
    return null
  }
  let interrupt: () => void = () => {}
  const interrupted = new Promise<never>((_resolve, reject) => {
    interrupt = () => {
      output.clearStatus()
      output.note(`The ${words} goes on without being watched.`)
      for (const line of later) output.note(line)
      reject(new Interrupted())
    }
  })
  process.once('SIGINT', interrupt)
  try {
    return await Promise.race([follow(api, id, output), interrupted])
  } finally {
    process.removeListener('SIGINT', interrupt)
  }
}
