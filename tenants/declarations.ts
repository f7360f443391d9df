import { LOG_LIMITS } from '../durable-objects/bucket/limits.ts'
import { MAX_STREAMS_PER_USER } from '../durable-objects/relay/users.ts'
import { FENCE_SECONDS } from '../durable-objects/replicator/limits.ts'
import { LOCATIONS, PLACEMENT } from '../durable-objects/shared/placement.ts'
import { CALL_SECONDS, MAX_CALL_SECONDS } from '../durable-objects/shared/retry.ts'
import {
  anything,
  matching,
  number,
  ofScript,
  oneOf,
  optional,
  required,
  secret,
  setting,
  whole,
} from '../protocol/settings.ts'
import { LIMIT_SETTINGS } from '../sync-config/limits.ts'
import { TENANT_KEYS_FORM } from './stored/seal.ts'

// Every setting of Rockpool is declared here, once: the name of its binding, its scope, check, preset, and one line of
// documentation. docs/settings.md is made from these lines. Limits and placement are declared beside the code that uses
// them. The file is long because it is the one list.

const DAY = 86_400

const identifier = matching(/^[a-z_][a-z0-9_]{0,62}$/, 'up to 63 lower-case letters, digits and _, the first no digit')
const text = matching(/[^]/, 'text')

export const REPLICATION = {
  DATABASE_URL: secret(
    required(matching(/^postgres(ql)?:\/\//, 'a URL that begins with postgres://'), 'the database; a secret'),
  ),
  DATABASE_CA: optional(
    matching(
      /-----BEGIN CERTIFICATE-----|^\s*(supabase|rds|none)\s*$/,
      'certificates in PEM, or `supabase`, `rds` or `none`',
    ),
    'the authorities that alone vouch for the certificate of Postgres, in place of the public ones, or that certificate itself',
  ),
  SYNC_CONFIG: optional(text, 'YAML in place of the sync config that is deployed with the script'),
  PUBLICATION: optional(
    identifier,
    'an existing publication, which Rockpool uses and never changes. Without it Rockpool makes its own',
  ),
  OWN_PUBLICATION: setting(
    identifier,
    'rockpool',
    'the publication that Rockpool makes and keeps in step with the sync config when `PUBLICATION` is not set',
  ),
  PUBLICATION_COLUMNS: setting(
    oneOf(['all', 'read']),
    'all',
    "columns that Rockpool's own publication sends: all, or only those that the sync config reads",
  ),
  SLOT: setting(identifier, 'rockpool', 'the replication slot, which Rockpool makes'),
  CATALOG_WATCH_SECONDS: setting(
    number(0.05, 3_600),
    3,
    'how often to look for changed table definitions while a client is connected',
  ),
  IDLE_POLL_SECONDS: setting(
    number(1, DAY),
    60,
    'pause between polls while no client is connected; it doubles each time a poll finds nothing',
  ),
  IDLE_POLL_MAX_SECONDS: setting(number(1, 30 * DAY), 4 * 3_600, 'the longest such pause'),
  LINGER_SECONDS: setting(number(0, 600), 30, 'how long a session continues after the last relay has left'),
  // An alarm may run for 15 minutes (Cloudflare, 2026-11). A session leaves two of them for closing.
  SESSION_SECONDS: setting(number(1, 780), 600, 'how long one session with Postgres lasts'),
  // An alarm also has a CPU budget, and the clock does not advance during computation (Cloudflare, 2026-11), so changes
  // are counted instead.
  SESSION_CHANGES: setting(
    whole(1, 1_000_000_000),
    5_000_000,
    'row changes that one session processes. A larger transaction takes several sessions',
  ),
  // At 60,000 a second and CPU time alone, the alarm's 300 s would be over with 18 million (Cloudflare, 2026-11).
  TRANSACTION_ROWS: setting(
    whole(1_000, 1_000_000_000),
    10_000_000,
    'rows of one transaction that are read. A larger transaction is not read to its end, and every table is compared instead',
  ),
  // 8,000 changes keep the object's thread busy for about 0.2 s.
  SLICE_CHANGES: setting(
    whole(100, 100_000),
    8_000,
    'row changes that are processed at once. A larger transaction is processed in several steps',
  ),
  BATCHES_IN_FLIGHT: setting(
    whole(1, 64),
    4,
    'batches that may wait for their buckets. While this many wait, transactions gather in the next batch',
  ),
  BATCH_WINDOW_MS: setting(
    whole(0, 1_000),
    0,
    'ms that a batch waits for more transactions while 20 a second or more arrive. 0: none waits',
  ),
  // Each holds the text of its ops.
  APPENDS_IN_FLIGHT: setting(
    whole(1, 256),
    32,
    'calls to buckets at a time. A quarter as many again are reserved for buckets that did not answer in time',
  ),
  ACTIVE_BUCKETS: setting(
    whole(0, 1_000_000_000),
    0,
    'bucket objects that appends may keep awake at a time; 0 is no limit. `rockpool dev`: 4000',
  ),
  CALL_SECONDS: ofScript(
    setting(
      number(0.1, MAX_CALL_SECONDS),
      CALL_SECONDS,
      'how long to wait for an answer from an object or from Postgres',
    ),
  ),
  FENCE_SECONDS: setting(
    number(1, DAY),
    FENCE_SECONDS,
    'a bucket that has accepted no appends for this long is fenced, and commits continue without it',
  ),
  WAL_CHECK_SECONDS: setting(number(1, 3_600), 60, 'how often the slot is measured during a session'),
  WAL_POLICY: setting(
    oneOf(['keep', 'drop-and-resync']),
    'keep',
    'what happens above `WAL_KEEP_GB`: it is reported, or the slot is dropped and everything is compared',
  ),
  WAL_KEEP_GB: setting(number(0.001, 1_000_000), 10, 'WAL that the slot may keep, in GB'),
  RETIRE_GRACE_SECONDS: setting(
    number(0, 30 * DAY),
    DAY,
    'how long the buckets of a replaced sync config are maintained, so that a rollback to it is immediate',
  ),
  UNUSED_DAYS: setting(
    number(0, 3_650),
    30,
    'how often to look for empty buckets. A bucket that has been empty for this whole time is removed. 0: never',
  ),
}

export const COMPACTION = {
  COMPACTION_BYTES: setting(
    whole(0, 1e12),
    LOG_LIMITS.afterBytes,
    'bytes of ops that a bucket receives before it is compacted',
  ),
  COMPACTION_SECONDS: setting(
    whole(0, 1e9),
    60,
    'how long a compaction then waits, so that ops that arrive together are compacted together',
  ),
  HISTORY_SECONDS: setting(
    whole(0, 1e9),
    LOG_LIMITS.historyMs / 1_000,
    'how long a superseded op is kept; the next compaction after that removes it',
  ),
}

export const STREAMS = {
  // One stream is one invocation. An invocation that has used its 10,000,000 subrequests ([limits] in wrangler.toml)
  // goes silent, so a stream ends long before.
  STREAM_MAX_CALLS: setting(
    whole(1, Infinity),
    2_000_000,
    'calls to objects and messages from relays that one stream may use',
  ),
  // An invocation also has 300 s of CPU, and its clock does not advance during computation: bytes sent are the measure.
  STREAM_MAX_BYTES: setting(whole(1, Infinity), 4 * 1024 ** 3, 'bytes of lines that one stream may send'),
  // Each relay has a socket to the replicator, which sends every notice to all of them.
  RELAYS: setting(whole(1, 100), 1, 'relay objects over which the streams of a tenant are spread, by user'),
  MAX_SUBSCRIPTIONS: setting(whole(1, 10_000), 1_000, 'subscriptions of streams that one request may have'),
  // The release after this one turns it on.
  STREAM_COMPRESSION: setting(
    oneOf(['on', 'off']),
    'off',
    'whether ops are compressed for HTTP clients that accept zstd or gzip',
  ),
  MAX_STREAMS_PER_USER: setting(whole(1, 10_000), MAX_STREAMS_PER_USER, 'streams that one user may have open'),
}

const keySet = anything('a JSON Web Key Set')
const list = anything('text, several separated by commas')

/** `authSettings` in workers/auth/settings.ts validates these: it can give better reasons than a check here. */
export const TOKENS = {
  JWT_AUDIENCE: optional(list, 'the audience of your tokens, or several'),
  JWT_SECRET: secret(optional(text, 'at least 32 bytes as base64url, for HS256, HS384 and HS512; a secret')),
  JWT_KEYS: secret(optional(keySet, 'the keys of your tokens; a secret when one of them is symmetric')),
  JWKS_URL: optional(list, 'addresses of key sets, up to 8'),
  JWKS_REJECT_IP_RANGES: optional(list, 'address ranges from which no key set is fetched, or `local`'),
  JWT_MAX_LIFETIME: optional(
    anything('a duration'),
    'the longest lifetime of a token: `12h`, `90m`, or a number of seconds. Default: a day',
  ),
  JWT_CLOCK_TOLERANCE: optional(
    anything('a number of seconds'),
    'by how much clocks may differ: 0 to 600 seconds. Default: 60',
  ),
  JWT_ISSUER: optional(
    list,
    'issuers whose tokens are accepted, besides those implied by the address of a known provider',
  ),
  OPERATOR_KEYS: secret(optional(keySet, 'keys of operators; a secret when one of them is symmetric')),
  OPERATOR_AUDIENCE: optional(list, "the audience of operators' tokens; it must not be one of `JWT_AUDIENCE`"),
  SUPABASE_URL: optional(text, 'the address of a Supabase project, whose key set is fetched'),
  SUPABASE_JWT_SECRET: secret(optional(text, 'the legacy JWT secret of a Supabase project; a secret')),
}

/** Operators who sign in by Cloudflare Access. `accessSettings` in workers/auth/access.ts validates these. */
export const ACCESS = {
  ACCESS_TEAM: ofScript(
    optional(
      text,
      'the team of Cloudflare Access by which operators sign in: `acme`, or the address of another domain',
    ),
  ),
  ACCESS_AUD: ofScript(optional(list, 'the AUD tag of the application in Access that protects `/admin`, or several')),
  ACCESS_ROLES: ofScript(
    optional(
      anything('JSON'),
      'what operators of Access may do, by e-mail address, `group:NAME` or `service:CLIENT_ID`',
    ),
  ),
}

/** Of deployments with several tenants: see docs/tenants.md. */
export const TENANTS = {
  TENANT_KEYS: secret(
    optional(
      matching(TENANT_KEYS_FORM, 'ID:KEY, or several separated by commas, each key 32 bytes as base64url'),
      'the keys by which secrets of tenants are encrypted, the newest one first; with them the deployment has the tenants of its Directory; a secret',
    ),
  ),
  DIRECTORY_LOCATION: ofScript(
    optional(
      oneOf(LOCATIONS),
      'the region in which the Directory of tenants is created; a hint that counts when it is first called',
    ),
  ),
  // Isolates have a list of tenants that is 30 s old at most while the Directory answers, and a stream of an older one
  // ends with its relay.
  DELETION_LATE_SECONDS: ofScript(
    setting(
      number(0, DAY),
      300,
      'how long after the storage of a deleted tenant has gone its objects are looked at again, for calls that came late',
    ),
  ),
  BUDGET_DOLLARS_DAY: ofScript(
    optional(
      number(0.01, 1_000_000),
      'US dollars that objects may cost on a day of UTC; when they are nearly used up, the replication of those is paused that use most',
    ),
  ),
  HOSTS: ofScript(
    optional(
      matching(/^[a-z0-9.-]+(\s*,\s*[a-z0-9.-]+)*$/, 'host names, several separated by commas'),
      'hosts of the deployment itself. Needed as soon as a tenant has a host: every other host is refused then',
    ),
  ),
  TENANT_HOSTS: ofScript(
    optional(
      matching(/^\*\.[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'a host name that begins with *.'),
      'hosts of tenants: with `*.sync.example.com` the host `acme.sync.example.com` is for the tenant `acme`',
    ),
  ),
}

/** All settings, in the order of the documentation. */
export const SETTINGS = {
  ...REPLICATION,
  ...PLACEMENT,
  ...LIMIT_SETTINGS,
  ...STREAMS,
  ...COMPACTION,
  ...TOKENS,
  ...ACCESS,
  ...TENANTS,
}

export type SettingName = keyof typeof SETTINGS
