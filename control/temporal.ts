/**
 * The control plane's way to Temporal. It serves without one: the connection is made when it is first needed and again
 * after every loss, and each call has a deadline, so that a Temporal that is down costs a caller seconds (R12.4).
 */
import {
  Client,
  Connection,
  defaultGrpcRetryOptions,
  isGrpcServiceError,
  makeGrpcRetryInterceptor,
} from '@temporalio/client'
import { CoppiceError } from '../domain/errors.ts'
import { DATA_CONVERTER } from '../domain/foreign-payloads.ts'
import type { TemporalOptions } from './options.ts'

/** A call answers within milliseconds; a server that comes back from SIGKILL on its file needs about 2 s. */
const CALL_DEADLINE_MS = 5_000
/** At 0.17 s and 1.7 times as long each: about 3 s in all, so that a restart of the server is waited for. */
const MAX_ATTEMPTS = 6

export type Temporal = {
  readonly address: string
  readonly namespace: string
  readonly client: Client
  /**
   * Runs calls with one deadline for all of them.
   *
   * @throws CoppiceError Unavailable when Temporal does not answer; other errors of the SDK as they are.
   */
  call<T>(work: (client: Client) => Promise<T>, deadlineMs?: number): Promise<T>
  close(): Promise<void>
}

export function openTemporal({ address, namespace }: TemporalOptions): Temporal {
  const connection = Connection.lazy({
    address,
    interceptors: [makeGrpcRetryInterceptor(defaultGrpcRetryOptions({ maxAttempts: MAX_ATTEMPTS }))],
    // By default gRPC waits up to 120 s before it tries a lost server again.
    channelArgs: { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 1_000 },
  })
  const client = new Client({ connection, namespace, dataConverter: DATA_CONVERTER })
  return {
    address,
    namespace,
    client,
    async call(work, deadlineMs = CALL_DEADLINE_MS) {
      try {
        return await connection.withDeadline(Date.now() + deadlineMs, () => work(client))
      } catch (error) {
        throw unavailable(error, address) ?? error
      }
    },
    close: () => connection.close(),
  }
}

/** gRPC status codes (https://grpc.io/docs/guides/status-codes/) of a server that is not there or not well. */
const UNAVAILABLE_CODES = new Map([
  [4, 'does not answer in time'],
  [8, 'is overloaded'],
  [14, 'cannot be reached'],
])

function unavailable(error: unknown, address: string): CoppiceError | null {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const reason = isGrpcServiceError(cause) ? UNAVAILABLE_CODES.get(cause.code) : undefined
    if (reason !== undefined)
      return new CoppiceError(
        'Unavailable',
        `Temporal at ${address} ${reason}`,
        { temporal: address },
        { cause: error },
      )
  }
  return null
}
