/**
 * What serves an app, from every change of it that the inventory makes and every acknowledgement of a router: written
 * down by triggers inside their transactions, so that nothing is missed between two looks.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

type Entry =
  | { kind: 'instance'; id: string; healthy: 0 | 1 }
  /** A new table, with the instances of the app that serve in it. */
  | { kind: 'table'; version: number; serving: string[] }
  /** What a router has applied in all its processes, and what its checks found down. */
  | { kind: 'router'; id: string; version: number; down: string[] }

export type Served = {
  /** The fewest healthy instances that any table had, of those that a router may have gone by at the time. */
  fewest: number
  /** How many tables were published meanwhile. */
  tables: number
}

export class ServingRecord {
  readonly #database: DatabaseSync

  private constructor(database: DatabaseSync) {
    this.#database = database
  }

  /** Begins the record of `app`; one at a time. `home`: the data directory. */
  static begin(home: string, app: string): ServingRecord {
    const database = new DatabaseSync(join(home, 'inventory.db'), { timeout: 10_000 })
    database.exec(`begin immediate; ${undo} ${triggers(app.replaceAll("'", "''"))} commit`)
    return new ServingRecord(database)
  }

  /** Ends it, and tells what it says. */
  end(): Served {
    try {
      const rows = this.#database.prepare('select entry from test_record order by seq').all()
      this.#database.exec(`begin immediate; ${undo} commit`)
      return read(rows.map(({ entry }) => JSON.parse(entry as string) as Entry))
    } finally {
      this.#database.close()
    }
  }
}

export function read(entries: readonly Entry[]): Served {
  const healthy = new Set<string>()
  const tables = new Map<number, string[]>()
  const routers = new Map<string, { version: number; down: string[] }>()
  let fewest = Number.POSITIVE_INFINITY
  let begun = 0
  for (const entry of entries) {
    if (entry.kind === 'instance') healthy[entry.healthy === 1 ? 'add' : 'delete'](entry.id)
    else if (entry.kind === 'table') tables.set(entry.version, entry.serving)
    else routers.set(entry.id, entry)
    // Until every part has said how it is there is nothing to judge.
    if (routers.size === 0 || tables.size === 0) continue
    begun ||= tables.size
    // Its processes apply a table one after the other, and acknowledge it when all have.
    for (const router of routers.values())
      for (const [version, serving] of tables)
        if (version >= router.version)
          fewest = Math.min(fewest, serving.filter((id) => healthy.has(id) && !router.down.includes(id)).length)
  }
  return { fewest, tables: tables.size - begun }
}

const undo = `
  drop trigger if exists test_record_new;
  drop trigger if exists test_record_change;
  drop trigger if exists test_record_end;
  drop trigger if exists test_record_table;
  drop trigger if exists test_record_router;
  drop table if exists test_record;
`

function triggers(app: string): string {
  const note = (entry: string) => `insert into test_record (entry) values (${entry})`
  // From the moment on at which it is to be stopped it does not count any more.
  const instance = (row: string) =>
    `json_object('kind', 'instance', 'id', ${row}.id, 'healthy', ${row}.desired = 'running' and ${row}.observed = 'running')`
  const table = (version: string) =>
    `json_object('kind', 'table', 'version', cast(${version} as integer), 'serving',
      (select json_group_array(id) from instances where app = '${app}' and role = 'serving'))`
  const router = (row: string) =>
    `json_object('kind', 'router', 'id', ${row}.id, 'version', ${row}.version, 'down', json(${row}.down))`
  return `
    create table test_record (seq integer primary key autoincrement, entry text not null);
    insert into test_record (entry) select ${instance('instances')} from instances where app = '${app}';
    ${note(table("(select value from meta where key = 'route_version')"))};
    insert into test_record (entry) select ${router('routers')} from routers;
    create trigger test_record_new after insert on instances when new.app = '${app}'
      begin ${note(instance('new'))}; end;
    create trigger test_record_change after update on instances when new.app = '${app}'
      begin ${note(instance('new'))}; end;
    create trigger test_record_end after delete on instances when old.app = '${app}'
      begin ${note("json_object('kind', 'instance', 'id', old.id, 'healthy', 0)")}; end;
    create trigger test_record_table after update on meta when new.key = 'route_version'
      begin ${note(table('new.value'))}; end;
    create trigger test_record_router after update on routers when new.version <> old.version or new.down <> old.down
      begin ${note(router('new'))}; end;
  `
}
