/** POST /sources: the source of an app, as an upload. */
import { type Request, Router } from 'express'
import { principalOf } from './auth.ts'
import type { Uploads } from './uploads.ts'

/** Takes in an uploaded tar; refuses files that are too big, links that leave it. Half an upload leaves nothing. */
export type SourceReceiver = (
  stream: AsyncIterable<Uint8Array>,
) => Promise<{ digest: string; files: number; bytes: number }>

export type SourcesApiDeps = { receiveSource: SourceReceiver; uploads: Uploads }

export function sourcesApi({ receiveSource, uploads }: SourcesApiDeps): Router {
  const router = Router()
  /** The body is the tar (gzip or not) as it is; how it is packed: cli/pack.ts. */
  router.post('/sources', async (request, response) => {
    try {
      const received = await uploads.during(principalOf(response).name, () =>
        // By itself the iterator closes the connection when its reader breaks off, and nobody would hear why.
        receiveSource(request.iterator({ destroyOnReturn: false })),
      )
      response.json(received)
    } catch (error) {
      discardRest(request)
      throw error
    }
  })
  return router
}

/**
 * What still comes of an upload that is refused is read and thrown away: a connection that is closed while its client
 * sends is reset, and takes the answer with it. For how long: body-watch.ts.
 */
function discardRest(request: Request): void {
  request.on('error', () => undefined)
  // Who broke off may still listen for it to become readable, which keeps it from flowing.
  request.removeAllListeners('readable')
  request.on('data', () => undefined)
  request.resume()
}
