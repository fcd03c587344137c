/** As Temporal's SDK has them: `encoding` in the metadata says how `data` is to be read. */
type Payload = { metadata?: Record<string, Uint8Array> | null; data?: Uint8Array | null }

const text = new TextDecoder()
const NOTHING: Payload = { metadata: { encoding: new TextEncoder().encode('binary/null') } }

/**
 * A payload codec (https://docs.temporal.io/payload-codec) that changes nothing of ours. Whoever can reach Temporal can
 * give a workflow `app/<name>` a memo or an input that this platform cannot decode: encrypted, of another SDK, no JSON.
 * It is null here. By itself the SDK throws for the whole workflow, and what only looks who holds a lock learns nothing.
 */
export const FOREIGN_PAYLOADS_ARE_NULL = {
  encode: async <P extends Payload>(payloads: P[]): Promise<P[]> => payloads,
  decode: async <P extends Payload>(payloads: P[]): Promise<P[]> =>
    payloads.map((payload) => (isReadable(payload) ? payload : (NOTHING as P))),
}

/** Of every client and worker of this platform. */
export const DATA_CONVERTER = { payloadCodecs: [FOREIGN_PAYLOADS_ARE_NULL] }

function isReadable({ metadata, data }: Payload): boolean {
  switch (text.decode(metadata?.encoding ?? undefined)) {
    case 'binary/null':
    case 'binary/plain':
      return true
    case 'json/plain':
      return isJson(text.decode(data ?? undefined))
    default:
      return false
  }
}

function isJson(words: string): boolean {
  try {
    JSON.parse(words)
    return true
  } catch {
    return false
  }
}
