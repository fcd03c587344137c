/** Puts together what the API shows of an app. */
import { CoppiceError } from '../domain/errors.ts'
import type { App } from '../domain/records.ts'
import type { Store } from '../store/store.ts'
import { type AppView, appUrls, appView, type ComputeLimits } from './views.ts'

export type AppReaderOptions = {
  domains: string[]
  /** URL of an app with `{app}` for its name; null makes it of the first domain and what routers report. */
  urlTemplate: string | null
  computeLimits: ComputeLimits
}

/** Where `npm start` puts the router; what is shown until one has reported. */
const DEFAULT_ROUTER = 'http://127.0.0.1:8080'

export class AppReader {
  readonly #store: Store
  readonly #options: AppReaderOptions

  constructor(store: Store, options: AppReaderOptions) {
    this.#store = store
    this.#options = options
  }

  /** @throws CoppiceError NotFound */
  async record(name: string): Promise<App> {
    const app = await this.#store.apps.get(name)
    if (app === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${name}`, { app: name })
    return app
  }

  /** @throws CoppiceError NotFound */
  async view(name: string): Promise<AppView> {
    return this.viewOf(await this.record(name))
  }

  async viewOf(app: App): Promise<AppView> {
    const deployment = (id: string | null) => (id === null ? null : this.#store.deployments.get(id))
    return appView({
      app,
      instances: await this.#store.instances.ofApp(app.name),
      active: await deployment(app.activeDeployment),
      pending: await deployment(app.pendingDeployment),
      computeLimits: this.#options.computeLimits,
      sizes: this.#store.workspace.sizes,
      urls: appUrls(app, { ...this.#options, ...(await this.#router()) }),
    })
  }

  async #router(): Promise<{ router: string; takenPorts: number[] }> {
    const routers = await this.#store.routers.list()
    const newest = routers.filter(({ address }) => URL.canParse(address)).sort((a, b) => b.seenAt - a.seenAt)[0]
    return { router: newest?.address ?? DEFAULT_ROUTER, takenPorts: newest?.takenPorts ?? [] }
  }
}
