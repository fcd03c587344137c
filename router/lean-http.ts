import { IncomingMessage, ServerResponse } from 'node:http'
import type { Express } from 'express'

/**
 * Request and response classes that are born as what Express makes of them. Express gives each request and response a
 * new prototype; here they have it already, which makes that free (it costs 3 % of a request under Node 24, and more
 * than the rest of Express under Node 20). They have to be classes that extend Node's: only then V8 makes room in the
 * object for the fields that Node's constructors set. Objects that a plain function has made for those constructors
 * run out of it and become hash tables, which costs a sixth of a request.
 *
 * `req.headers` holds only the four headers that node:http itself looks at: the router reads `rawHeaders` in one pass
 * of its own, and to build an object of 15 headers that nobody reads costs another 3 %.
 */
export function leanClasses(app: Express): {
  IncomingMessage: typeof IncomingMessage
  ServerResponse: typeof ServerResponse
} {
  class Request extends IncomingMessage {
    _addHeaderLine(field: string, value: string, dest: Record<string, string>): void {
      switch (field.length) {
        case 6:
        case 7:
        case 14:
        case 17: {
          const name = field.toLowerCase()
          if (name === 'expect' || name === 'upgrade' || name === 'content-length' || name === 'transfer-encoding') {
            dest[name] ??= value
          }
        }
      }
    }
  }
  class Response extends ServerResponse {}
  Object.setPrototypeOf(Request.prototype, app.request)
  Object.setPrototypeOf(Response.prototype, app.response)
  Object.assign(app, { request: Request.prototype, response: Response.prototype })
  return { IncomingMessage: Request, ServerResponse: Response as typeof ServerResponse }
}
