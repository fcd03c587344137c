/**
 * The inventory's schema, one entry a version. An entry is never changed once it has landed; a new one is added.
 * `PRAGMA user_version` says which have run.
 */
import type { DatabaseSync } from 'node:sqlite'
import { CoppiceError } from '../domain/errors.ts'

export const MIGRATIONS: readonly string[] = [
  `
  create table meta (key text primary key, value text not null) strict;
  create table apps (
    name text primary key,
    id text not null unique,
    description text not null,
    mode text not null check (mode in ('standard', 'scaled')),
    instances integer not null,
    compute_size text not null,
    place integer not null,
    preinstalled integer not null,
    compute_state text not null,
    compute_message text not null,
    desired text not null check (desired in ('running', 'stopped')),
    active_deployment text,
    pending_deployment text,
    operation text,
    default_source_code_path text,
    port integer unique,
    rebalance text,
    last_update text,
    route_version integer not null,
    created_at integer not null,
    updated_at integer not null,
    creator text not null
  ) strict;
  create table deployments (
    id text primary key,
    app text not null,
    operation text not null,
    state text not null,
    message text not null,
    source_code_path text,
    source text,
    artifact text,
    mode text not null,
    command text,
    env text,
    env_names text not null,
    health_path text,
    health_timeout_ms integer not null,
    created_at integer not null,
    updated_at integer not null,
    creator text not null
  ) strict;
  create index deployments_of_app on deployments (app, created_at);
  create table operations (
    id text primary key,
    app text not null,
    type text not null,
    state text not null,
    phase text not null,
    door text not null,
    started_by text not null,
    workflow_id text,
    run_id text,
    deployment text,
    change text,
    plan text,
    created_app integer not null,
    repairs text,
    failure text,
    requested_at integer not null,
    started_at integer,
    ended_at integer
  ) strict;
  create index operations_of_app on operations (app, requested_at);
  create index operations_open on operations (state) where state in ('REQUESTED', 'RUNNING');
  create table operation_steps (
    operation text not null,
    step text not null,
    seq integer not null,
    words text not null,
    state text not null,
    detail text not null,
    outcome text,
    started_at integer not null,
    ended_at integer,
    primary key (operation, step)
  ) strict;
  create table instances (
    id text primary key,
    app text not null,
    slot integer not null,
    deployment text not null,
    operation text not null,
    mode text not null,
    compute_size text not null,
    desired text not null,
    role text not null,
    observed text not null,
    address text,
    pid integer,
    crashes integer not null,
    restart_at integer,
    message text,
    log_lines text not null,
    created_at integer not null,
    started_at integer,
    metered_at integer
  ) strict;
  create index instances_of_app on instances (app);
  create table ports (
    port integer primary key,
    instance text unique,
    state text not null check (state in ('leased', 'resting', 'foreign')),
    rests_until_version integer,
    until integer
  ) strict;
  create table routers (
    id text primary key,
    incarnation text not null,
    address text not null,
    registered_at integer not null,
    seen_at integer not null,
    counted integer not null,
    inventory text not null,
    version integer not null,
    processes integer not null,
    in_flight text not null,
    long_lived text not null,
    sessions text not null,
    rebalanced text not null,
    down text not null
  ) strict;
  create table settings (key text primary key, value text not null) strict;
  create table secrets (
    app text not null,
    name text not null,
    value text not null,
    updated_at integer not null,
    primary key (app, name)
  ) strict;
  create table tokens (
    name text primary key,
    role text not null check (role in ('admin', 'user')),
    digest text not null unique,
    created_at integer not null,
    created_by text not null
  ) strict;
  create table usage (compute_size text primary key, instance_ms integer not null) strict;
  create table pins (key text not null, holder text not null, primary key (key, holder)) strict;
  create index pins_of_holder on pins (holder);
  create table events (
    seq integer primary key autoincrement,
    at integer not null,
    app text not null,
    operation text,
    instance text,
    kind text not null,
    message text not null,
    data text
  ) strict;
  create index events_of_app on events (app, seq);
  `,
  `alter table routers add column session_ranks text not null default '{}';`,
  `alter table routers add column silent text not null default '{}';`,
  `alter table deployments add column built_with text;`,
  `alter table deployments add column secrets text;`,
  `
  alter table apps add column health_path text;
  alter table apps add column health_timeout_ms integer not null default 60000;
  alter table apps add column silence_ms integer not null default 15000;
  alter table deployments add column silence_ms integer not null default 15000;
  update apps set health_path = deployments.health_path, health_timeout_ms = deployments.health_timeout_ms
    from deployments where deployments.id = apps.active_deployment;
  `,
  `alter table routers add column away integer not null default 0;
  alter table routers add column refused text;`,
  `alter table routers add column taken_ports text not null default '[]';`,
  `alter table operations add column settings text;`,
]

export type MigrateOptions = {
  migrations?: readonly string[]
  /** Called before the first change of a database that is there already; throws when it must not be changed. */
  backUp?: (from: number) => void
}

/**
 * Brings the database to the newest version, in one transaction. Nobody else can write between the backup and it.
 *
 * @throws CoppiceError StoreNewer when a newer program wrote it (R14.2); nothing is changed then.
 */
export function migrate(
  raw: DatabaseSync,
  { migrations = MIGRATIONS, backUp }: MigrateOptions = {},
): { from: number; to: number } {
  // The usual start changes nothing, and need not wait for anybody.
  if (schemaVersion(raw) === migrations.length) return { from: migrations.length, to: migrations.length }
  raw.exec('begin immediate')
  try {
    const from = schemaVersion(raw)
    if (from > migrations.length)
      throw new CoppiceError(
        'StoreNewer',
        `The inventory has schema version ${from}, this program knows ${migrations.length} at most`,
      )
    if (from > 0 && from < migrations.length) backUp?.(from)
    for (const migration of migrations.slice(from)) raw.exec(migration)
    raw.exec(`pragma user_version = ${migrations.length}`)
    raw.exec('commit')
    return { from, to: migrations.length }
  } catch (error) {
    // A full disk has ended it already, and is the error to be told.
    if (raw.isTransaction) raw.exec('rollback')
    throw error
  }
}

export const schemaVersion = (raw: DatabaseSync): number =>
  (raw.prepare('pragma user_version').get() as { user_version: number }).user_version
