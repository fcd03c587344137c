/**
 * `.gitignore` as git reads it (gitignore(5)), letters of either case being the same. Each name is matched in time that
 * grows with the product of its length and that of the pattern, whatever these are: as regular expressions, several `**`
 * in a pattern take hours in folders that lie deep.
 */

/** What the last rule says that fits; null when none does. */
export type Verdict = 'ignored' | 'taken' | null

export type IgnoreFile = {
  /** @param path relative to the folder of the file, with `/`. What lies in an ignored folder is ignored. */
  verdict(path: string, isDirectory: boolean): Verdict
}

type Rule = { negative: boolean; directoryOnly: boolean; segments: Segment[] }
/** `**` is any number of folders, none too. */
type Segment = '**' | Piece[]
/** `*`, or what one character has to be. */
type Piece = '*' | ((character: string) => boolean)

export function readIgnoreFile(text: string): IgnoreFile {
  const rules = text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .flatMap((line) => ruleOf(line) ?? [])
    .reverse()
  const folders = new Map<string, Verdict>()
  const own = (path: string, isDirectory: boolean): Verdict => {
    const names = path.toLowerCase().split('/')
    const rule = rules.find((rule) => (isDirectory || !rule.directoryOnly) && fits(rule.segments, names))
    return rule === undefined ? null : rule.negative ? 'taken' : 'ignored'
  }
  const ofFolder = (path: string): Verdict => {
    const known = folders.get(path)
    if (known !== undefined) return known
    const found = within(path) ?? own(path, true)
    folders.set(path, found)
    return found
  }
  /** What it inherits: nothing re-includes what lies in an ignored folder. */
  const within = (path: string): Verdict => {
    const slash = path.lastIndexOf('/')
    return slash > 0 && ofFolder(path.slice(0, slash)) === 'ignored' ? 'ignored' : null
  }
  return { verdict: (path, isDirectory) => (isDirectory ? ofFolder(path) : (within(path) ?? own(path, false))) }
}

function ruleOf(line: string): Rule | null {
  let pattern = withoutBlanks(line)
  if (pattern === '' || pattern.startsWith('#')) return null
  const negative = pattern.startsWith('!')
  if (negative) pattern = pattern.slice(1)
  const directoryOnly = pattern.endsWith('/')
  if (directoryOnly) pattern = pattern.slice(0, -1)
  if (pattern === '' || endsInEscape(pattern)) return null
  // Without a slash but at the end, it fits at any depth.
  const names = pattern.includes('/') ? pattern.replace(/^\//, '').split('/') : ['**', pattern]
  const segments: Segment[] = []
  for (const [at, name] of names.entries()) {
    const isAny = /^\*\*+$/.test(name) && (at === 0 || pattern.includes('/'))
    const segment = isAny ? '**' : piecesOf(name.toLowerCase())
    if (segment === null) return null
    if (segment !== '**' || segments.at(-1) !== '**') segments.push(segment)
  }
  // `a/**` is all that lies below `a`, and not `a` itself.
  if (segments.at(-1) === '**') segments.push(['*'])
  return { negative, directoryOnly, segments }
}

/** Blanks at the end do not count but behind a backslash. */
function withoutBlanks(line: string): string {
  let end = line.length
  while (end > 0 && line[end - 1] === ' ' && !endsInEscape(line.slice(Math.max(0, end - 2), end - 1))) end -= 1
  return line.slice(0, end)
}

function endsInEscape(text: string): boolean {
  let backslashes = 0
  while (text[text.length - 1 - backslashes] === '\\') backslashes += 1
  return backslashes % 2 === 1
}

/** Which segments may be next after each name: all of them at once, so that nothing is tried twice. */
function fits(segments: readonly Segment[], names: readonly string[]): boolean {
  let next = new Set<number>()
  const mayBeNext = (at: number, into: Set<number>) => {
    into.add(at)
    if (segments[at] === '**') into.add(at + 1)
  }
  mayBeNext(0, next)
  for (const name of names) {
    const after = new Set<number>()
    for (const at of next) {
      const segment = segments[at]
      if (segment === '**') mayBeNext(at, after)
      else if (segment !== undefined && fitsName(segment, name)) mayBeNext(at + 1, after)
    }
    if (after.size === 0) return false
    next = after
  }
  return next.has(segments.length)
}

/** The last `*` takes one character more whenever what follows does not fit; those before it never have to. */
function fitsName(pieces: readonly Piece[], name: string): boolean {
  let [at, piece] = [0, 0]
  let retry: { at: number; piece: number } | null = null
  while (at < name.length) {
    const wanted = pieces[piece]
    if (wanted === '*') {
      piece += 1
      retry = { at, piece }
    } else if (wanted?.(name[at] as string)) {
      at += 1
      piece += 1
    } else if (retry !== null) {
      retry.at += 1
      at = retry.at
      piece = retry.piece
    } else return false
  }
  return pieces.slice(piece).every((rest) => rest === '*')
}

/** Null for what fits nothing: an escape or a bracket without its end. */
function piecesOf(name: string): Piece[] | null {
  const pieces: Piece[] = []
  for (let at = 0; at < name.length; at += 1) {
    const character = name[at] as string
    if (character === '*') {
      if (pieces.at(-1) !== '*') pieces.push('*')
    } else if (character === '?') pieces.push(() => true)
    else if (character === '[') {
      const bracket = bracketAt(name, at)
      if (bracket === null) return null
      pieces.push(bracket.fits)
      at = bracket.end
    } else {
      if (character === '\\') at += 1
      const literal = name[at]
      if (literal === undefined) return null
      pieces.push((found) => found === literal)
    }
  }
  return pieces
}

/** As git has them: ASCII alone. Upper and lower case are one here. */
const CLASSES: Record<string, RegExp> = {
  alnum: /[0-9a-z]/,
  alpha: /[a-z]/,
  blank: /[ \t]/,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is named
  cntrl: /[\x00-\x1f\x7f]/,
  digit: /[0-9]/,
  graph: /[!-~]/,
  lower: /[a-z]/,
  print: /[ -~]/,
  punct: /[!-/:-@[-`{-~]/,
  space: /[ \t\n\r]/,
  upper: /[a-z]/,
  xdigit: /[0-9a-f]/,
}

/** One of these characters, ranges or classes, or none of them. The first one may be `]`. */
function bracketAt(name: string, start: number): { fits: (character: string) => boolean; end: number } | null {
  let at = start + 1
  const negative = name[at] === '!' || name[at] === '^'
  if (negative) at += 1
  const members: Array<(character: string) => boolean> = []
  const literal = (): string | undefined => {
    if (name[at] === '\\') at += 1
    const character = name[at]
    at += 1
    return character
  }
  for (let isFirst = true; isFirst || name[at] !== ']'; isFirst = false) {
    const named = name[at] === '[' && name[at + 1] === ':' ? name.indexOf(']', at + 2) : -1
    if (named > at + 2 && name[named - 1] === ':') {
      const known = CLASSES[name.slice(at + 2, named - 1)]
      if (known === undefined) return null
      members.push((character) => known.test(character))
      at = named + 1
      continue
    }
    const from = literal()
    if (from === undefined) return null
    if (name[at] !== '-' || name[at + 1] === ']' || name[at + 1] === undefined) {
      members.push((character) => character === from)
      continue
    }
    at += 1
    const to = literal()
    if (to === undefined) return null
    members.push((character) => character === from || (character >= from && character <= to))
  }
  return { fits: (character) => members.some((fits) => fits(character)) !== negative, end: at }
}
