import { describe, expect, it } from 'vitest'
import { FOREIGN_PAYLOADS_ARE_NULL as codec } from './foreign-payloads.ts'

const payload = (encoding: string, data: string) => ({
  metadata: { encoding: Buffer.from(encoding) },
  data: Buffer.from(data),
})
const encodingOf = ({ metadata }: { metadata?: { encoding?: Uint8Array } }) =>
  Buffer.from(metadata?.encoding ?? []).toString()

describe('R10.3 payloads from whoever can reach Temporal', () => {
  it('are left alone where they can be decoded', async () => {
    const ours = [payload('json/plain', '{"app":"hello"}'), payload('binary/plain', '{'), payload('binary/null', '')]
    expect(await codec.decode(ours)).toEqual(ours)
    expect(await codec.encode(ours)).toEqual(ours)
  })

  it.each([
    ['encrypted', payload('binary/encrypted', 'x')],
    ['of another SDK', payload('json/protobuf', '{}')],
    ['no JSON', payload('json/plain', '{')],
    ['empty', payload('json/plain', '')],
    ['without an encoding', { metadata: {}, data: Buffer.from('{}') }],
    ['without anything', {}],
  ])('are null where they are %s', async (_words, foreign) => {
    expect((await codec.decode([foreign])).map(encodingOf)).toEqual(['binary/null'])
  })
})
