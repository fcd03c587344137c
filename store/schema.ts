/** Tables of the inventory as Kysely sees them. Times are Unix milliseconds, booleans 0 or 1, JSON is text. */
import type { Generated } from 'kysely'

export type Schema = {
  meta: { key: string; value: string }
  apps: {
    name: string
    id: string
    description: string
    mode: string
    instances: number
    compute_size: string
    /** 1: holds a place for a scaled app; from admission to the pivot that gives it back. */
    place: number
    preinstalled: number
    compute_state: string
    compute_message: string
    desired: string
    active_deployment: string | null
    pending_deployment: string | null
    operation: string | null
    default_source_code_path: string | null
    health_path: string | null
    health_timeout_ms: number
    silence_ms: number
    port: number | null
    /** JSON of the last rebalance; null for none. */
    rebalance: string | null
    /** JSON of the last update through the API; null for none. */
    last_update: string | null
    route_version: number
    created_at: number
    updated_at: number
    creator: string
  }
  deployments: {
    id: string
    app: string
    operation: string
    state: string
    message: string
    source_code_path: string | null
    source: string | null
    artifact: string | null
    /** JSON of `BuiltWith`; null when it is not built, or was by a version that did not write it down. */
    built_with: string | null
    mode: string
    command: string | null
    /** Sealed JSON of [{name, value | value_from}]; null for none. */
    env: string | null
    env_names: string
    /** JSON of the names of the secrets that it needs; null when a version built it that did not write them down. */
    secrets: string | null
    health_path: string | null
    health_timeout_ms: number
    silence_ms: number
    created_at: number
    updated_at: number
    creator: string
  }
  operations: {
    id: string
    app: string
    type: string
    state: string
    phase: string
    door: string
    started_by: string
    workflow_id: string | null
    run_id: string | null
    deployment: string | null
    change: string | null
    settings: string | null
    plan: string | null
    created_app: number
    repairs: string | null
    failure: string | null
    requested_at: number
    started_at: number | null
    ended_at: number | null
  }
  operation_steps: {
    operation: string
    step: string
    seq: number
    words: string
    state: string
    detail: string
    outcome: string | null
    started_at: number
    ended_at: number | null
  }
  instances: {
    id: string
    app: string
    slot: number
    deployment: string
    operation: string
    mode: string
    compute_size: string
    desired: string
    role: string
    observed: string
    address: string | null
    pid: number | null
    crashes: number
    restart_at: number | null
    message: string | null
    log_lines: string
    created_at: number
    started_at: number | null
    /** Up to when its time has been counted; null while it holds no compute. */
    metered_at: number | null
  }
  ports: {
    port: number
    instance: string | null
    /** leased | resting | foreign */
    state: string
    /** Resting: the first table version without it; free once every registered router has acknowledged that. */
    rests_until_version: number | null
    /** Foreign: Unix ms until which it is left alone. */
    until: number | null
  }
  routers: {
    id: string
    incarnation: string
    address: string
    registered_at: number
    seen_at: number
    /** Counted = 1: in the acknowledgement set. */
    counted: number
    inventory: string
    version: number
    processes: number
    in_flight: string
    long_lived: string
    sessions: string
    /** 1: it has signed off, and comes back with the table of `version`. */
    away: Generated<number>
    /** JSON: the table that it cannot apply. */
    refused: string | null
    session_ranks: string
    rebalanced: string
    down: string
    /** JSON: ports of apps that it cannot open. */
    taken_ports: string
    /** JSON: silent instances, with since when this router has said so without a break (Unix ms). */
    silent: string
  }
  settings: { key: string; value: string }
  secrets: { app: string; name: string; value: string; updated_at: number }
  /** `digest`: SHA-256 of the token, in hexadecimal digits. */
  tokens: { name: string; role: string; digest: string; created_at: number; created_by: string }
  /** What all instances of a size have run so far, in ms. */
  usage: { compute_size: string; instance_ms: number }
  pins: { key: string; holder: string }
  events: {
    seq: Generated<number>
    at: number
    app: string
    operation: string | null
    instance: string | null
    kind: string
    message: string
    data: string | null
  }
}
