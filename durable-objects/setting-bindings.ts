/** Settings and secrets, validated by `tenantSettings` and `tokenRules`. */
export interface SettingBindings {
  DATABASE_URL?: string
  /** PEM of an authority of its own; refused on Cloudflare, which trusts public ones only. */
  DATABASE_CA?: string
  /** By what tokens are judged; docs/auth.md says what each does. */
  JWT_SECRET?: string
  JWT_AUDIENCE?: string
  JWT_KEYS?: string | object
  JWKS_URL?: string
  JWKS_REJECT_IP_RANGES?: string
  JWT_MAX_LIFETIME?: string | number
  JWT_CLOCK_TOLERANCE?: string | number
  JWT_ISSUER?: string
  OPERATOR_KEYS?: string | object
  OPERATOR_AUDIENCE?: string
  SUPABASE_URL?: string
  SUPABASE_JWT_SECRET?: string
  /** YAML; absent = the text bundled with the script. */
  SYNC_CONFIG?: string
  /** Publication and slot; both default to `rockpool`. A publication given here is not created. */
  PUBLICATION?: string
  PUBLICATION_COLUMNS?: string
  SLOT?: string
  /** Where the objects are made: see `shared/placement.ts`. */
  LOCATION?: string
  JURISDICTION?: string
  /** How the replicator goes about it; docs/operations.md says what each does. Texts, or numbers in `[vars]`. */
  CATALOG_WATCH_SECONDS?: string | number
  IDLE_POLL_SECONDS?: string | number
  IDLE_POLL_MAX_SECONDS?: string | number
  LINGER_SECONDS?: string | number
  SESSION_SECONDS?: string | number
  SESSION_CHANGES?: string | number
  SLICE_CHANGES?: string | number
  BATCHES_IN_FLIGHT?: string | number
  APPENDS_IN_FLIGHT?: string | number
  ACTIVE_BUCKETS?: string | number
  CALL_SECONDS?: string | number
  FENCE_SECONDS?: string | number
  WAL_CHECK_SECONDS?: string | number
  WAL_POLICY?: string
  WAL_KEEP_GB?: string | number
  RETIRE_GRACE_SECONDS?: string | number
  UNUSED_DAYS?: string | number
  /** Limits of the sync config and of each client, whole numbers; see `sync-config/limits.ts`. */
  MAX_DISJUNCTS?: string | number
  MAX_BUCKETS_PER_STREAM?: string | number
  MAX_BUCKETS?: string | number
  MAX_LOOKUP_ROWS?: string | number
  /** Buckets are compacted when so many bytes of ops have come (262144), so many seconds later (60). Validated by `compactionSettings`. */
  COMPACTION_BYTES?: string | number
  COMPACTION_SECONDS?: string | number
  /** And when an op that another one supersedes has been stored for so many seconds (86400). */
  HISTORY_SECONDS?: string | number
  /** Budget of one stream: calls to objects and messages, bytes of lines. */
  STREAM_MAX_CALLS?: string | number
  STREAM_MAX_BYTES?: string | number
  /** Subscriptions of streams that one request may have (1000). */
  MAX_SUBSCRIPTIONS?: string | number
  /** Streams that one user may have open (20). */
  MAX_STREAMS_PER_USER?: string | number
  /** Relay objects over which the streams of a tenant are spread (1). */
  RELAYS?: string | number
}
