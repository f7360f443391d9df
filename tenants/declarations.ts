import { LOG_LIMITS } from '../durable-objects/bucket/limits.ts'
import { MAX_STREAMS_PER_USER } from '../durable-objects/relay/users.ts'
import { FENCE_SECONDS } from '../durable-objects/replicator/limits.ts'
import { PLACEMENT } from '../durable-objects/shared/placement.ts'
import { CALL_SECONDS, MAX_CALL_SECONDS } from '../durable-objects/shared/retry.ts'
import { anything, matching, number, ofScript, oneOf, optional, required, secret, setting, whole } from '../protocol/settings.ts'
import { LIMIT_SETTINGS } from '../sync-config/limits.ts'

// Every setting of Rockpool is declared here, once: the name of its binding, its scope, check, preset, and a line of documentation, from which
// docs/settings.md is made. Limits and places are declared beside what they mean. The file is long because it is the one list.

const DAY = 86_400

const identifier = matching(/^[a-z_][a-z0-9_]{0,62}$/, 'up to 63 lower-case letters, digits and _, the first no digit')
const text = matching(/[^]/, 'text')

export const REPLICATION = {
  DATABASE_URL: secret(required(matching(/^postgres(ql)?:\/\//, 'a URL that begins with postgres://'), 'the database; a secret')),
  DATABASE_CA: optional(
    matching(/-----BEGIN CERTIFICATE-----/, 'certificates in PEM'),
    'the authorities that alone vouch for the certificate of Postgres, in place of the public ones, or that certificate itself',
  ),
  SYNC_CONFIG: optional(text, 'YAML in place of the sync config that is deployed with the script'),
  PUBLICATION: optional(identifier, 'a publication that exists, and is not changed. Without it Rockpool makes one'),
  OWN_PUBLICATION: setting(
    identifier,
    'rockpool',
    'the publication that Rockpool makes, and keeps equal to the sync config, without `PUBLICATION`',
  ),
  PUBLICATION_COLUMNS: setting(
    oneOf(['all', 'read']),
    'all',
    'columns that the publication of Rockpool sends: all, or those that the sync config reads',
  ),
  SLOT: setting(identifier, 'rockpool', 'the replication slot, which Rockpool makes'),
  CATALOG_WATCH_SECONDS: setting(number(0.05, 3_600), 3, 'how often changes of definitions are looked for while somebody is connected'),
  IDLE_POLL_SECONDS: setting(number(1, DAY), 60, 'pause after a poll while nobody is connected, doubled while polls find nothing'),
  IDLE_POLL_MAX_SECONDS: setting(number(1, 30 * DAY), 4 * 3_600, 'the longest such pause'),
  LINGER_SECONDS: setting(number(0, 600), 30, 'a session goes on for so long after the last relay has left'),
  // An alarm has 15 minutes (Cloudflare, 2026-11), of which a session leaves two for its end.
  SESSION_SECONDS: setting(number(1, 780), 600, 'life of a session with Postgres'),
  // An alarm has a CPU budget as well, and the clock stands still while computing (Cloudflare, 2026-11).
  SESSION_CHANGES: setting(whole(1, 1_000_000_000), 5_000_000, 'row changes of a session. A transaction that is larger passes in several'),
  // 8,000 take about 0.2 s of the object's thread.
  SLICE_CHANGES: setting(whole(100, 100_000), 8_000, 'row changes that are taken in at once, of a larger transaction in steps'),
  BATCHES_IN_FLIGHT: setting(
    whole(1, 64),
    4,
    'batches that may wait for their buckets. While so many do, transactions gather in the next one',
  ),
  // Each holds the text of its ops.
  APPENDS_IN_FLIGHT: setting(
    whole(1, 256),
    32,
    'calls of buckets at a time. A quarter as many are beside them for buckets that did not answer in time',
  ),
  ACTIVE_BUCKETS: setting(
    whole(0, 1_000_000_000),
    0,
    'bucket objects that appends may keep awake at a time; 0 is no limit. `rockpool dev`: 4000',
  ),
  CALL_SECONDS: ofScript(
    setting(number(0.1, MAX_CALL_SECONDS), CALL_SECONDS, 'after so long an answer of an object, or of Postgres, is given up'),
  ),
  FENCE_SECONDS: setting(
    number(1, DAY),
    FENCE_SECONDS,
    'a bucket that has taken no appends for so long is fenced, and commits go on without it',
  ),
  WAL_CHECK_SECONDS: setting(number(1, 3_600), 60, 'how often the slot is measured while a session goes on'),
  WAL_POLICY: setting(
    oneOf(['keep', 'drop-and-resync']),
    'keep',
    'over `WAL_KEEP_GB`: told, or the slot is dropped and everything compared',
  ),
  WAL_KEEP_GB: setting(number(0.001, 1_000_000), 10, 'WAL that the slot may keep, in GB'),
  RETIRE_GRACE_SECONDS: setting(number(0, 30 * DAY), DAY, 'how long what a sync config needs is maintained when another one serves'),
  UNUSED_DAYS: setting(
    number(0, 3_650),
    30,
    'how often buckets are looked for that no row is in; one that has been so for a whole such time is removed. 0: never',
  ),
}

export const COMPACTION = {
  COMPACTION_BYTES: setting(whole(0, 1e12), LOG_LIMITS.afterBytes, 'ops that come to a bucket before it is compacted, in bytes'),
  COMPACTION_SECONDS: setting(whole(0, 1e9), 60, 'how long a compaction then waits: what comes together is compacted together'),
  HISTORY_SECONDS: setting(
    whole(0, 1e9),
    LOG_LIMITS.historyMs / 1_000,
    'an op that another one supersedes is stored for so long, until the next compaction',
  ),
}

export const STREAMS = {
  // One stream is one invocation, which goes silent when its 10,000,000 subrequests (see [limits] in wrangler.toml) are used up. It ends long before.
  STREAM_MAX_CALLS: setting(whole(1, Infinity), 2_000_000, 'calls of objects and messages of relays that one stream may use'),
  // An invocation has 300 s of CPU as well, and no clock that runs while it computes: bytes sent are the measure.
  STREAM_MAX_BYTES: setting(whole(1, Infinity), 4 * 1024 ** 3, 'bytes of lines that one stream may send'),
  // Each has a socket to the replicator, which sends every notice to all of them.
  RELAYS: setting(whole(1, 100), 1, 'relay objects over which the streams of a tenant are spread by their user'),
  MAX_SUBSCRIPTIONS: setting(whole(1, 10_000), 1_000, 'subscriptions of streams that one request may have'),
  MAX_STREAMS_PER_USER: setting(whole(1, 10_000), MAX_STREAMS_PER_USER, 'streams that one user may have open'),
}

const keySet = anything('a JSON Web Key Set')
const list = anything('text, several separated by commas')

/** What each must be is decided by `authSettings` in workers/auth/settings.ts, which may say more. */
export const TOKENS = {
  JWT_AUDIENCE: optional(list, 'the audience of your tokens, or several'),
  JWT_SECRET: secret(optional(text, 'base64url of at least 32 bytes, for HS256, HS384 and HS512; a secret')),
  JWT_KEYS: secret(optional(keySet, 'keys of your tokens; a secret when one of them is symmetric')),
  JWKS_URL: optional(list, 'addresses of key sets, up to 8'),
  JWKS_REJECT_IP_RANGES: optional(list, 'address ranges that no key set is fetched from, or `local`'),
  JWT_MAX_LIFETIME: optional(anything('a duration'), 'the longest life of a token: `12h`, `90m`, or seconds; a day'),
  JWT_CLOCK_TOLERANCE: optional(anything('a number of seconds'), 'by how much clocks may differ: 0 to 600 seconds; 60'),
  JWT_ISSUER: optional(list, 'issuers whose tokens are accepted, beside those that follow from the address of a known provider'),
  OPERATOR_KEYS: secret(optional(keySet, 'keys of operators; a secret when one of them is symmetric')),
  OPERATOR_AUDIENCE: optional(list, 'the audience of tokens of operators: none of `JWT_AUDIENCE`'),
  SUPABASE_URL: optional(text, 'the address of a Supabase project, whose key set is fetched'),
  SUPABASE_JWT_SECRET: secret(optional(text, 'the legacy JWT secret of a Supabase project; a secret')),
}

/** All of them, in the order of the documentation. */
export const SETTINGS = { ...REPLICATION, ...PLACEMENT, ...LIMIT_SETTINGS, ...STREAMS, ...COMPACTION, ...TOKENS }

export type SettingName = keyof typeof SETTINGS
