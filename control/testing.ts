/** Records for tests of what is made of them. */
import { DEFAULT_HEALTH } from '../domain/health-check.ts'
import type { App, Instance } from '../domain/records.ts'

export const app: App = {
  name: 'shop',
  id: 'a1',
  description: '',
  mode: 'scaled',
  instances: 2,
  computeSize: 'MEDIUM',
  place: true,
  preinstalled: false,
  computeState: 'ACTIVE',
  computeMessage: 'App compute is active.',
  desired: 'running',
  activeDeployment: 'd1',
  pendingDeployment: null,
  operation: null,
  defaultSourceCodePath: null,
  health: DEFAULT_HEALTH,
  port: 8100,
  routeVersion: 1,
  createdAt: 0,
  updatedAt: 0,
  creator: 'admin',
}

export const instance = (slot: number, rest: Partial<Instance> = {}): Instance => ({
  id: `shop-12345678-${slot}`,
  app: 'shop',
  slot,
  deployment: 'd1',
  operation: 'op-1',
  mode: 'scaled',
  computeSize: 'MEDIUM',
  desired: 'running',
  role: 'serving',
  observed: 'running',
  address: `127.0.0.1:2000${slot}`,
  pid: 1,
  crashes: 0,
  restartAt: null,
  message: null,
  logLines: [],
  createdAt: 0,
  startedAt: 0,
  ...rest,
})
