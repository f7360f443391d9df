/** One line for each problem that says what to do. docs/errors.md and docs/operations.md say more. */
const STEPS: Readonly<Record<string, string>> = {
  ROCKPOOL_SOURCE_UNREACHABLE:
    'is Postgres up, and can it be reached from where Rockpool runs? It is tried again by itself',
  ROCKPOOL_SOURCE_TLS:
    'do what the message says, and do not trust what answers until you know why; it is tried again by itself',
  ROCKPOOL_SOURCE_SETTINGS: 'do what the message says; it is tried again by itself',
  ROCKPOOL_SOURCE_CHANGED: 'nothing, if this is the database that is meant: the next session compares every table',
  ROCKPOOL_SLOT_LOST:
    'the next session makes a slot and compares every table, which sends clients what differs. When it was Postgres: raise max_slot_wal_keep_size',
  ROCKPOOL_SLOT_TAKEN: 'give this Rockpool a SLOT of its own, or end the other process',
  ROCKPOOL_LIMIT:
    'does somebody use it as it is not meant to be used? Else raise the limit: rockpool tenants set NAME --limit rowsPerDay=WARN:REFUSE (or storedGb=…)',
  ROCKPOOL_SETTINGS: 'correct the setting, and deploy the script again (a secret: wrangler secret put NAME)',
  ROCKPOOL_SYNC_CONFIG: 'correct the sync config, and rockpool deploy FILE; the previous one continues to serve',
  ROCKPOOL_DEPLOY: 'do what the message says, and deploy again; the previous one continues to serve',
  ROCKPOOL_PGOUTPUT: 'report it, with your version of Postgres',
  ROCKPOOL_INTERNAL: 'report it; the log of the Worker has the details (wrangler tail)',
  ROCKPOOL_WAL_KEPT: 'is a transaction open for long (pg_stat_activity), or is replication behind?',
  ROCKPOOL_TABLE_REFUSED: 'do what the reason says; the next session checks again, and the other tables are followed',
  ROCKPOOL_BUCKET_FAILING: 'report it when it lasts: docs/operations.md#fenced-buckets',
  ROCKPOOL_BUCKET_FENCED: 'docs/operations.md#fenced-buckets',
  ROCKPOOL_DIFFERENCES: 'rockpool verify --repair, and report it: something has damaged what is stored',
}

export const nextStep = (code: string): string => STEPS[code] ?? 'docs/errors.md'
