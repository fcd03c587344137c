/**
 * Starts instances at once that somebody has let begin anew: whoever sets the secret that an app has lacked does not wait
 * until its back-off of minutes is over (R12.9). The inventory says which; it is looked at whenever it has changed.
 */
import type { Instances } from '../runtime/contracts.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'

export type NewBeginningsDeps = {
  store: Pick<Store, 'watch' | 'instances'>
  instances: Pick<Instances, 'lookAgain'>
  logger: Logger
}

/** Until the signal is aborted. */
export async function followNewBeginnings(deps: NewBeginningsDeps, signal: AbortSignal): Promise<void> {
  const { store, instances, logger } = deps
  const lookAgain = (id: string): Promise<void> =>
    instances
      .lookAgain(id)
      .catch((err: unknown) => logger.warn({ err, instance: id }, 'could not start an instance that begins anew'))
  const look = async (): Promise<null> => {
    // Side by side: each may have its own to wait for.
    await Promise.all((await store.instances.begunAnew()).map(lookAgain))
    return null
  }
  // What fails now is looked at again with the next change, or within a second.
  const tolerant = () =>
    look().catch((error: unknown) => {
      logger.warn({ err: error }, 'could not start what begins anew')
      return null
    })
  await store.watch.until(tolerant, signal).catch((error: unknown) => {
    if (!signal.aborted) logger.error({ err: error }, 'does not follow what begins anew any more; the reconciler does')
  })
}
