/** What a client makes of the bytes that a connection has brought, by the letter of RFC 9112 and by no code of the router. */
export type ReadAnswer = {
  status: number
  headers: string
  body: string
  /** Nothing is missing. */
  whole: boolean
  /** Bytes that it took. */
  length: number
}

/** @returns the first final answer, or null if not even its head is there */
export function readAnswer(text: string, isHead: boolean): ReadAnswer | null {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return null
  const start = headEnd + 4
  const status = Number(/^HTTP\/1\.1 ([1-5]\d\d) /.exec(text)?.[1])
  if (Number.isNaN(status)) throw new Error(`no answer: ${JSON.stringify(text.slice(0, 200))}`)
  if (status < 200) {
    const behind = readAnswer(text.slice(start), isHead)
    return behind && { ...behind, length: behind.length + start }
  }
  const headers = text.slice(0, headEnd).toLowerCase()
  const read = { status, headers }
  if (isHead || status === 204 || status === 304) return { ...read, body: '', whole: true, length: start }
  const size = /\r\ncontent-length: (\d+)(?:\r|$)/.exec(headers)?.[1]
  if (size !== undefined) {
    const body = text.slice(start, start + Number(size))
    return { ...read, body, whole: body.length === Number(size), length: start + Number(size) }
  }
  if (!headers.includes('\r\ntransfer-encoding: chunked')) throw new Error(`no framing: ${headers}`)
  let body = ''
  let at = start
  for (;;) {
    const line = /^([0-9a-f]+)\r\n/i.exec(text.slice(at))
    if (line === null) return { ...read, body, whole: false, length: text.length }
    const length = Number.parseInt(line[1] as string, 16)
    at += line[0].length
    if (length === 0) {
      const trailers = /^(?:[^\r\n]+\r\n)*\r\n/.exec(text.slice(at))
      return { ...read, body, whole: trailers !== null, length: at + (trailers?.[0].length ?? 0) }
    }
    body += text.slice(at, at + length)
    at += length + 2
  }
}
