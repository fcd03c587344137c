import { Agent, type ClientRequest, request } from 'node:http'
import { hostAndPort } from '../domain/address.ts'
import { isOwnError } from './own-errors.ts'

/**
 * What became of a question. `none`: this router could not ask (out of descriptors, say), which tells nothing about the
 * instance.
 */
export type Reply = 'good' | 'bad' | 'refused' | 'none'

/** A connection of its own for each question: one that is kept open says nothing about the next client. */
const agent = new Agent({ keepAlive: false })

/**
 * One question to an instance, which waits for its answer as long as nobody cancels it: a busy app gets to it when it
 * is done, and a second question would only stand behind the first.
 */
export class Question {
  private asked: ClientRequest
  private over = false

  /**
   * @param address `host:port`, IPv6 hosts in brackets
   * @param path null asks `/`, and takes any answer below 500; with a path it takes those below 400, as at the start of
   *   an instance. To connect alone proves nothing: the kernel accepts for a process that is stopped.
   */
  constructor(address: string, path: string | null, onReply: (reply: Reply) => void) {
    const end = (reply: Reply) => {
      if (this.over) return
      this.cancel()
      onReply(reply)
    }
    const ask = (): ClientRequest => {
      const asked = request({
        agent,
        ...hostAndPort(address),
        path: path ?? '/',
        headers: { host: address, 'user-agent': 'coppice-router-check', accept: '*/*' },
      })
      asked.once('response', ({ statusCode = 0 }) => end(statusCode < (path === null ? 500 : 400) ? 'good' : 'bad'))
      asked.once('upgrade', () => end('bad'))
      asked.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ETIMEDOUT')
          return end(error.code === 'ECONNREFUSED' ? 'refused' : isOwnError(error) ? 'none' : 'bad')
        // The kernel gave up to connect, to one whose backlog is full: that is no answer, and it still waits.
        if (!this.over) this.asked = ask()
      })
      asked.end()
      return asked
    }
    this.asked = ask()
  }

  /** Nobody waits for the answer any more. */
  cancel(): void {
    this.over = true
    this.asked.destroy()
  }
}
