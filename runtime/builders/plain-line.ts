import { withoutTrailing } from '../../domain/trailing.ts'

/**
 * Sequences that colour text, move the cursor or set titles (ECMA-48), and links. An ESC that begins none is left out
 * alone. No part of a match goes beyond the next ESC, so that each character is looked at a few times at most, whatever
 * the text: `stripVTControlCharacters` of Node takes 6 s for 64 KiB of `ESC ]`, and builds print what they like.
 */
const SEQUENCE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|[ -/]*[0-~])?|\x9b[0-?]*[ -/]*[@-~]/g

/** A line of output as people read it: without colours, and of a progress bar, which rewrites its line, the last state. */
export function plainLine(raw: string): string {
  const shown = withoutTrailing(raw, '\r')
  return shown
    .slice(shown.lastIndexOf('\r') + 1)
    .replace(SEQUENCE, '')
    .trimEnd()
}
