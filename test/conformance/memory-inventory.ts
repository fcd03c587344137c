import type {
  InstanceInventory,
  InstanceRecord,
  InstanceSpec,
  ObservedPatch,
  SpecCaller,
} from '../../runtime/contracts.ts'

type Event = Parameters<InstanceInventory['event']>[0]

/** The part of the store that the worker's actors see, in memory. */
export class MemoryInventory implements InstanceInventory {
  readonly records = new Map<string, InstanceRecord & ObservedPatch>()
  readonly specs = new Map<string, InstanceSpec>()
  readonly events: Event[] = []
  readonly forgotten: string[] = []
  /** What routers say; by instance, since when. */
  readonly silentSince = new Map<string, number>()
  /** Called before each method; throws what the store is to fail with. */
  failing: (method: string, id: string, patch?: ObservedPatch) => void = () => undefined

  add(spec: InstanceSpec, record: Partial<InstanceRecord> = {}): void {
    this.specs.set(spec.id, spec)
    this.records.set(spec.id, {
      id: spec.id,
      app: spec.app,
      slot: spec.slot,
      deployment: spec.deployment,
      operation: 'operation-1',
      operationOpen: true,
      desired: 'running',
      role: 'standby',
      observed: 'pending',
      crashes: 0,
      restartAt: null,
      address: null,
      healthPath: spec.health.path,
      ...record,
    })
  }

  record(id: string): InstanceRecord & ObservedPatch {
    const record = this.records.get(id)
    if (!record) throw new Error(`no record of ${id}`)
    return record
  }

  kinds(id: string): string[] {
    return this.events.filter((event) => event.instance === id).map((event) => event.kind)
  }

  async list(): Promise<InstanceRecord[]> {
    this.failing('list', '')
    return [...this.records.values()].map((record) => ({ ...record }))
  }

  async get(id: string): Promise<InstanceRecord | null> {
    this.failing('get', id)
    const record = this.records.get(id)
    return record ? { ...record } : null
  }

  async silent(): Promise<ReadonlyMap<string, number>> {
    this.failing('silent', '')
    return this.silentSince
  }

  async observe(id: string, patch: ObservedPatch): Promise<void> {
    this.failing('observe', id, patch)
    const record = this.records.get(id)
    if (record) Object.assign(record, patch)
  }

  async retire(id: string): Promise<void> {
    this.failing('retire', id)
    const record = this.records.get(id)
    if (record) record.desired = 'retired'
  }

  async forget(id: string): Promise<void> {
    this.failing('forget', id)
    this.records.delete(id)
    this.forgotten.push(id)
  }

  async spec(id: string, _caller: SpecCaller): Promise<InstanceSpec | null> {
    this.failing('spec', id)
    return this.specs.get(id) ?? null
  }

  async event(event: Event): Promise<void> {
    this.failing('event', event.instance)
    this.events.push(event)
  }
}
