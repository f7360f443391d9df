import type { Environment } from '../../durable-objects/environment.ts'
import { bucketStub } from '../../durable-objects/shared/namespaces.ts'
import { callDeadline, untilAnswered, waitMs } from '../../durable-objects/shared/retry.ts'
import type { TokenMark } from '../../protocol/revocations.ts'
import { sleep } from '../../protocol/sleep.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { bucketObjectName, MAX_MAILBOX_CLIENTS } from '../../protocol/names.ts'
import { relaysFor } from '../../tenants/budget.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { ended, type Budget } from './budget.ts'
import type { Held } from './held.ts'
import { READ_LENGTH } from './limits.ts'
import { planByHash } from './plans.ts'
import type { LineSink, StreamPorts } from './ports.ts'
import { Renewals } from './renewals.ts'
import { RelayChoice, relayOrder, type StreamOwner } from './relay-order.ts'
import { openUpstream, type RelaySocket } from './upstream.ts'

const RETRY = { firstMs: 100, maxMs: 10_000 }
/** Failures in a row before one is logged: an object that is moved or restarted fails a few times. */
const ATTEMPTS_BEFORE_REPORT = 5

export interface ObjectPorts extends StreamPorts {
  /** Called when the claims of the stream have changed. */
  again(): void
  /**
   * Called when the client has another token. Resolves when the relay has found that it was not revoked; the stream
   * ends when it was. False: a later token has taken its place. Rejects when the stream ends before that.
   */
  renew(token: TokenMark): Promise<boolean>
}

/**
 * The ports of a stream over the objects of a tenant. Calls are repeated, each with a new stub and a deadline, until
 * they are answered or the stream ends. `comparing` is called for every message of the relay with the progress of a
 * comparison that holds back new checkpoints, 0 to 1, or null when there is none.
 */
export function objectPorts(
  env: Environment,
  tenant: Tenant,
  owner: StreamOwner,
  lines: LineSink,
  budget: Budget,
  held: Held,
  comparing: (fraction: number | null) => void = () => {},
): ObjectPorts {
  const { signal } = lines
  const relays = new RelayChoice(relayOrder(owner.user, relaysFor(tenant.streams.relays, tenant.budget)))
  const renewals = new Renewals(owner.token, signal)
  let upstream: RelaySocket | null = null

  const ask = <T>(call: () => Promise<T>): Promise<T> =>
    untilAnswered(call, {
      ...RETRY,
      deadlineMs: callDeadline(env),
      signal,
      begin: () => {
        signal.throwIfAborted()
        upstream?.throwIfFinal()
        budget.call()
      },
      failed: (error, attempts) => {
        if (attempts === ATTEMPTS_BEFORE_REPORT) console.warn('a call of a stream fails', error)
      },
    })

  const bucket = async (name: string) => bucketStub(env, tenant, await bucketObjectName(tenant.name, name))
  return {
    lines,
    /** Waits, and ends early when the stream ends. */
    pause: (attempt) => sleep(waitMs(RETRY, attempt), signal),
    tails: (length) => held.set('tails', length),
    know: (bytes) => {
      if (!held.know(bytes))
        throw ended('there are as many buckets of streams here as there is room for: come back later')
    },
    connect: async () => {
      held.alive()
      // A relay may notice only after all subscriptions of the stream that it is full, and each bucket costs it a call.
      if (relays.passed > 0) await sleep(waitMs(RETRY, relays.passed), signal)
      signal.throwIfAborted()
      // The relay checks the token with which a stream comes before it greets it.
      const { token, seq } = renewals.current
      const admitted = (upTo: number) => renewals.admitted(upTo)
      const tell = { budget, held, comparing, greeted: () => admitted(seq), admitted }
      upstream = await openUpstream(env, tenant, { ...owner, token }, signal, tell, relays)
      if (renewals.current.seq !== seq) upstream.send(renewals.frame())
      return upstream
    },
    served: () => relays.served(),
    renew: (token) => {
      const done = renewals.renew(token)
      upstream?.send(renewals.frame())
      return done
    },
    again: () => upstream?.again(),
    plan: (hash) => ask(() => planByHash(env, tenant, hash)),
    read: (name, after, checkpoint) =>
      ask(async () => (await bucket(name)).read({ v: MESSAGE_VERSION, after, checkpoint, budget: READ_LENGTH })),
    // As many rows as one lookup or a mailbox may have. The sum over all lookups of the client is checked where they
    // are evaluated.
    rows: (name, checkpoint) =>
      ask(async () => {
        const limit = Math.max(tenant.limits.lookupRows, MAX_MAILBOX_CLIENTS)
        return (await bucket(name)).rows({ v: MESSAGE_VERSION, checkpoint, limit })
      }),
  }
}
