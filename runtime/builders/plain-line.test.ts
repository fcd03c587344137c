import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { plainLine } from './plain-line.ts'

const ESC = '\x1b'

describe('a line of output', () => {
  it.each([
    ['is as it was printed', 'plain text', 'plain text'],
    ['has no colours', `${ESC}[1;31mred${ESC}[0m and ${ESC}[38;2;1;2;3mblue${ESC}[m`, 'red and blue'],
    ['has no movements of the cursor', `${ESC}[2K${ESC}[1Gdone${ESC}7${ESC}(B`, 'done'],
    ['has no title', `${ESC}]0;npm run build\x07built`, 'built'],
    ['has the words of a link', `see ${ESC}]8;;https://example.org/${ESC}\\the page${ESC}]8;;${ESC}\\`, 'see the page'],
    ['keeps what follows a title without an end', `${ESC}]0;title`, '0;title'],
    ['has no escape that begins nothing', `a${ESC}`, 'a'],
    ['is the last state of a progress bar', '10%\r50%\r100%\r\r', '100%'],
    ['is empty where it was emptied', 'gone\r\r', 'gone'],
    ['may be nothing', '\r\r', ''],
  ])('%s', (_, raw, expected) => {
    expect(plainLine(raw)).toBe(expected)
  })

  it('is what Node makes of colours', () => {
    const text = `${ESC}[31m${ESC}[1mError:${ESC}[22m${ESC}[39m not ${ESC}[4mfound${ESC}[24m \x9b1mhere\x9b0m`
    expect(plainLine(text)).toBe(stripVTControlCharacters(text))
  })

  it.each([
    ['CR', '\r', 'x'],
    ['CR and blanks', ' \r', 'x'],
    ['titles without an end', `${ESC}]`, ''],
    ['titles without an end, with text', `${ESC}]0;x`, ''],
    ['colours without an end', `${ESC}[1;`, ''],
    ['parameters without an end', '1;', ESC],
    ['eight-bit introducers', '\x9b1', ''],
    ['intermediates', ' ', `${ESC}\x00`],
  ])('R14.4 is made in time that grows with its length, out of %s', (_, unit, end) => {
    // With a quadratic pattern a quarter of an hour.
    expect(plainLine(`${ESC}${unit.repeat(1_000_000)}${end}`).length).toBeLessThanOrEqual(4_000_000)
  })
})
