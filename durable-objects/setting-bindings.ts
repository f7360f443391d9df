/** Settings and secrets, validated by `tenantSettings` and `tokenRules`. */
export interface SettingBindings {
  DATABASE_URL?: string
  /** base64url, HS256. */
  JWT_SECRET?: string
  /** One audience, or several separated by commas. */
  JWT_AUDIENCE?: string
  /** YAML; absent = the text bundled with the script. */
  SYNC_CONFIG?: string
  /** Publication and slot; both default to `rockpool`. A publication given here is not created. */
  PUBLICATION?: string
  SLOT?: string
  /** How the replicator goes about it; docs/operations.md says what each does. Texts, or numbers in `[vars]`. */
  CATALOG_WATCH_SECONDS?: string | number
  IDLE_POLL_SECONDS?: string | number
  IDLE_POLL_MAX_SECONDS?: string | number
  LINGER_SECONDS?: string | number
  SESSION_SECONDS?: string | number
  SESSION_CHANGES?: string | number
  BATCHES_IN_FLIGHT?: string | number
  APPENDS_IN_FLIGHT?: string | number
  WAL_CHECK_SECONDS?: string | number
  WAL_POLICY?: string
  WAL_KEEP_GB?: string | number
  /** Buckets are compacted when so many bytes of ops have come (262144), so many seconds later (60). Validated by `compactionSettings`. */
  COMPACTION_BYTES?: string | number
  COMPACTION_SECONDS?: string | number
}
