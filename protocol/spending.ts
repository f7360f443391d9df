import { RockpoolError } from './errors.ts'

// At the spending limit for Durable Objects, which the owner of the account sets, Cloudflare rejects new calls of
// objects, SQL and `setAlarm` for the whole account. Open sockets go on, and pending alarms are held (Cloudflare's
// documentation, 2026-11: "Exceeded the account's spending cap for Durable Objects").

/** Nothing that was rejected is tried again sooner. */
export const SPENDING_RETRY_MS = 60_000

/** Returns whether the account has reached its spending limit. */
export const isSpendingLimit = (error: unknown): boolean =>
  error instanceof Error &&
  (('code' in error && error.code === 'ROCKPOOL_SPENDING') ||
    /exceeded the account.?s spending cap/i.test(error.message))

/** Returns the error for whoever asked. */
export const spendingError = (cause: unknown): RockpoolError =>
  new RockpoolError('ROCKPOOL_SPENDING', 'the account has reached its spending limit at Cloudflare: come back later', {
    cause,
    details: { retryAfter: SPENDING_RETRY_MS / 1_000 },
  })
