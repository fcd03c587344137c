/**
 * `text.slice(from, to)` without the spaces and tabs around it, which is what HTTP means by blanks (OWS, RFC 9110
 * 5.6.3). `trim()` takes away more, U+00A0 among it, and that byte is part of a name or value.
 */
export function sliceTrimmed(text: string, from = 0, to = text.length): string {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const isBlank = (code: number) => code === 0x20 || code === 0x09
