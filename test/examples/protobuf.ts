/** As much of Protocol Buffers' wire format as Streamlit's messages need: varints and length-delimited fields. */

export type Field = { number: number; value: number | Buffer }

/** One field: a number as a varint, a text or a message with its length before it. */
export function field(number: number, value: number | string | Buffer): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)])
  const bytes = Buffer.from(value)
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}

/** The fields of a message in their order, those within it unread. Fields of a fixed size are left out. */
export function fieldsOf(message: Buffer): Field[] {
  const fields: Field[] = []
  let at = 0
  const next = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at++)
      value += (byte % 128) * scale
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const tag = next()
    const number = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        fields.push({ number, value: next() })
        break
      case 1:
        at += 8
        break
      case 2: {
        const length = next()
        fields.push({ number, value: message.subarray(at, at + length) })
        at += length
        break
      }
      case 5:
        at += 4
        break
      default:
        throw new Error(`wire type ${tag % 8} of field ${number}`)
    }
  }
  return fields
}

/** The message or text in the first field of that number; throws where there is none. */
export function within(message: Buffer, ...path: number[]): Buffer {
  return path.reduce((inner, number) => {
    const found = fieldsOf(inner).find((candidate) => candidate.number === number)?.value
    if (!Buffer.isBuffer(found)) throw new Error(`no field ${number} in ${inner.toString('latin1').slice(0, 200)}`)
    return found
  }, message)
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return Buffer.from([...bytes, rest])
}
