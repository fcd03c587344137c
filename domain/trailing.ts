/** The text without the characters of this kind at its end. As `/x+$/` does it, a long run in the middle takes minutes. */
export function withoutTrailing(text: string, character: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === character) end -= 1
  return text.slice(0, end)
}
