/** How many of the first rows have at most `maxBytes` together; one at least, however large it is. */
export function fitting(sizes: ReadonlyArray<{ bytes: number }>, maxBytes: number): number {
  let room = maxBytes
  const cut = sizes.findIndex(({ bytes }, n) => {
    room -= bytes
    return room < 0 && n > 0
  })
  return cut === -1 ? sizes.length : cut
}
