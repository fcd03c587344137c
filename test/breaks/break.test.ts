import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ROOT } from '../../scripts/stack-options.ts'
import { applyEdit } from './break.ts'
import { loadBreaks } from './load.ts'

describe('a break', () => {
  it('is refused when its text is gone or not the only one of its kind', () => {
    const edit = { file: 'a.ts', find: 'x = 1', replace: 'x = $& 2' }
    expect(applyEdit('one', edit, 'let x = 1')).toBe('let x = $& 2')
    expect(() => applyEdit('one', edit, 'let y = 1')).toThrow('break one: its text is not in a.ts')
    expect(() => applyEdit('one', edit, 'x = 1; x = 1')).toThrow('is 2 times in a.ts')
  })

  it('fits the code as it is now, each of them', async () => {
    const breaks = await loadBreaks()
    expect(breaks.length).toBeGreaterThan(0)
    for (const { name, broken } of breaks) {
      for (const edit of broken.edits) {
        const text = readFileSync(join(ROOT, edit.file), 'utf8')
        expect(applyEdit(name, edit, text), name).not.toBe(text)
      }
    }
  })
})
