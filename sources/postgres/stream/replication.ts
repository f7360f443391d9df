import { Duplex } from 'node:stream'
import type { Sql } from 'postgres'
import { RockpoolError } from '../../../protocol/errors.ts'
import { sourceError } from '../wire/connection.ts'
import { markForFailover } from './failover.ts'
import { decodePgoutput } from './pgoutput.ts'
import { freeSlot, slotHolder, taken, type SlotHolder } from './slot.ts'
import type { Lsn, ReplicationHandlers, ReplicationSession } from '../types.ts'

export interface ReplicationOptions {
  slot: string
  publication: string
  /** 0 = the server never cuts a silent receiver. */
  walSenderTimeoutMs: number
  /** A dead session of ours held the slot and was ended. */
  freed?: (holder: SlotHolder) => void
  /** The slot is not yet one that standbys keep, and is to be. `refused`: it cannot be, and is read all the same. */
  markForFailover?: { refused(reason: string): void }
}

const MAX_STATUS_MS = 10_000
/**
 * A server that shuts down waits for every walsender's client to confirm all of its WAL, and asks without a pause. We
 * confirm less than that, so that the last transaction is sent again; so we must go, or the server would wait for us
 * until the session ends. Otherwise it asks at most once between two statuses.
 */
const REQUESTS_OF_A_SHUTDOWN = 10
/**
 * The server answers every status that asks for it. One that is silent for as long as it would bear from us is not
 * there any more.
 */
const SILENCE_MS = 60_000
/**
 * From 16 on a walsender that is about to sleep misses a commit that is flushed in that very moment, and sleeps until
 * it is woken by another one, or by us. An acknowledgement wakes it just when the next commit may come. So a status
 * follows when nothing has come or gone for so long, and again, in case that one did the same.
 */
const NUDGES_MS = [20, 100, 500, 2_000]
/** A socket that takes nothing any more does not hold the end of a session. */
const CLOSE_MS = 200
/**
 * A session that was closed needs a moment to let go of the slot; one whose socket broke keeps it until the server has
 * noticed.
 */
const SLOT_TRIES = 25
const FIRST_SLOT_WAIT_MS = 10
const MAX_SLOT_WAIT_MS = 250
const FREE_AFTER_TRIES = 8
/** Microseconds from 1970-01-01 to 2000-01-01. */
const EPOCH_MICROSECONDS = 946_684_800_000_000n

/**
 * Starts streaming where the slot stands: always from 0/0, because a position ahead of the server is accepted and then
 * nothing ever comes.
 * `sql` is a connection with `replication`. Throws ROCKPOOL_SOURCE_UNREACHABLE, ROCKPOOL_SLOT_TAKEN when somebody else
 * holds the slot, ROCKPOOL_SOURCE_SETTINGS.
 */
export async function openReplication(
  sql: Sql,
  options: ReplicationOptions,
  handlers: ReplicationHandlers,
): Promise<ReplicationSession> {
  const stream = await start(sql, options)
  let walEnd: Lsn = 0n
  let acknowledged: Lsn = 0n
  let closing = false
  let paused = false
  /** Statuses sent since anything was heard. */
  let unanswered = 0
  /** Requests for an answer since the last beat. */
  let requests = 0
  /** When something came or was acknowledged last, and how often the server was nudged since. */
  let activeAt = 0
  let nudges = 0
  let nudging: ReturnType<typeof setTimeout> | undefined
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {})

  function status(answer = false, sent?: () => void): void {
    if (stream.destroyed || closing) return sent?.()
    const message = new DataView(new ArrayBuffer(34))
    message.setUint8(0, 'r'.charCodeAt(0))
    // Written, flushed and applied up to the same place; never beyond what the server has, or later commits would
    // vanish.
    for (const at of [1, 9, 17]) message.setBigUint64(at, acknowledged)
    message.setBigInt64(25, BigInt(Date.now()) * 1_000n - EPOCH_MICROSECONDS)
    message.setUint8(33, answer ? 1 : 0)
    stream.write(new Uint8Array(message.buffer), () => sent?.())
  }

  // By a timer of its own: the server's request for an answer lies behind unread data while we are paused.
  const limit = options.walSenderTimeoutMs > 0 ? options.walSenderTimeoutMs : SILENCE_MS
  const interval = Math.min(limit / 3, MAX_STATUS_MS)
  const timer = setInterval(beat, interval)

  function beat(): void {
    requests = 0
    if (paused) return status()
    if (unanswered * interval < limit) {
      unanswered++
      return status(true)
    }
    over(
      new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `Postgres has not answered for ${Math.round(limit / 1_000)} s`),
    )
    stream.destroy()
  }

  function active(): void {
    activeAt = Date.now()
    nudges = 0
    if (nudging === undefined) nudgeLater()
  }

  /** One timer, however much comes meanwhile. */
  function nudgeLater(): void {
    const due = NUDGES_MS[nudges]
    nudging = due === undefined || closing ? undefined : setTimeout(nudge, Math.max(0, activeAt + due - Date.now()))
  }

  function nudge(): void {
    if (Date.now() - activeAt >= (NUDGES_MS[nudges] ?? 0)) {
      nudges++
      status()
    }
    nudgeLater()
  }

  function stop(): void {
    clearInterval(timer)
    clearTimeout(nudging)
  }

  function over(error: unknown): void {
    stop()
    if (closing) ended.resolve()
    else ended.reject(streamError(error, options.publication))
  }

  function receive(bytes: Uint8Array): void {
    if (closing) return
    unanswered = 0
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const kind = bytes[0]
    if (kind === 0x77) {
      active()
      const end = view.getBigUint64(9)
      if (end > walEnd) walEnd = end
      const message = decodePgoutput(bytes.subarray(25))
      // Inside a transaction Postgres tells the place of each change; its commit record is in the WAL all the same.
      if (message.type === 'begin' && message.finalLsn >= walEnd) walEnd = message.finalLsn + 1n
      handlers.message(message, bytes.length)
    } else if (kind === 0x6b) {
      const end = view.getBigUint64(1)
      if (end > walEnd) walEnd = end
      handlers.keepalive(end)
      if (bytes[17] !== 1) return
      if (++requests < REQUESTS_OF_A_SHUTDOWN) return status()
      closing = true
      stop()
      ended.reject(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres is shutting down'))
      void sql.end({ timeout: 0 })
    }
  }

  // The flowing `data` event keeps messages apart; read() and iteration would merge them.
  stream.on('data', (bytes: Uint8Array) => {
    try {
      receive(bytes)
    } catch (error) {
      stop()
      ended.reject(error)
      closing = true
    }
  })
  stream.on('error', over)
  stream.on('close', () => over(undefined))
  stream.on('end', () => over(undefined))
  // An error that comes together with the answer to START_REPLICATION is over before anybody could listen.
  if (stream.destroyed) over(stream.errored ?? undefined)

  return {
    pause() {
      paused = true
      stream.pause()
    },
    resume() {
      if (!paused) return
      paused = false
      unanswered = 0
      stream.resume()
    },
    acknowledge(lsn) {
      const clamped = lsn > walEnd ? walEnd : lsn
      if (clamped <= acknowledged) return
      acknowledged = clamped
      status()
      active()
    },
    get walEnd() {
      return walEnd
    },
    async close() {
      // The last acknowledgement is on its way before the socket is closed.
      const told = new Promise<void>((resolve) => status(false, resolve))
      closing = true
      stop()
      await Promise.race([told, new Promise((resolve) => setTimeout(resolve, CLOSE_MS))])
      // A stream never ends by itself, so nothing is waited for.
      await sql.end({ timeout: 0 })
      ended.resolve()
    },
    ended: ended.promise,
  }
}

async function start(
  sql: Sql,
  { slot, publication, freed, markForFailover: mark }: ReplicationOptions,
): Promise<Duplex> {
  const command = `START_REPLICATION SLOT ${identifier(slot)} LOGICAL 0/0 (proto_version '1', publication_names ${literal(identifier(publication))}, messages 'true')`
  for (let attempt = 1; ; attempt++) {
    try {
      if (mark) await marked(sql, slot, mark)
      const stream: unknown = await sql.unsafe(command).writable()
      if (!(stream instanceof Duplex))
        throw new RockpoolError('ROCKPOOL_INTERNAL', 'the driver opened no duplex stream')
      return stream
    } catch (error) {
      if (codeOf(error) !== IN_USE) throw startError(error, slot)
      try {
        const holder = await slotHolder(sql, slot)
        if (holder && attempt >= SLOT_TRIES) throw taken(slot, holder)
        if (holder?.ours && attempt >= FREE_AFTER_TRIES && (await freeSlot(sql, slot))) freed?.(holder)
      } catch (cause) {
        throw sourceError(cause)
      }
      await new Promise((resolve) =>
        setTimeout(resolve, Math.min(FIRST_SLOT_WAIT_MS * 2 ** (attempt - 1), MAX_SLOT_WAIT_MS)),
      )
    }
  }
}

const IN_USE = '55006'

/** A slot that is in use is the one reason for which nothing is read either. */
async function marked(sql: Sql, slot: string, { refused }: { refused(reason: string): void }): Promise<void> {
  try {
    await markForFailover(sql, slot)
  } catch (error) {
    if (codeOf(error) === '' || codeOf(error) === IN_USE) throw error
    refused(error instanceof Error ? error.message : String(error))
  }
}

function startError(error: unknown, slot: string): RockpoolError {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (code === '53300' && message.includes('max_wal_senders')) {
    const what = `all walsenders are in use: raise max_wal_senders and restart Postgres, or end one that nobody needs (pg_stat_replication)`
    return new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', what, { cause: error })
  }
  // Invalidated, or its WAL is gone, since it was looked at: the next session finds that out before anything else.
  if (code === '55000' || code === '58P01') {
    const what = `the replication slot ${slot} cannot be used any more: ${message}`
    return new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', what, { cause: error })
  }
  return sourceError(error)
}

const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : '')
const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** SQLSTATE of an object that is not there. */
const UNDEFINED_OBJECT = '42704'

/**
 * Changes are decoded with the catalog of their time. Before 18 one that was written while the publication was dropped
 * is an error for ever, also when there is a publication of that name again: the slot is of no use any more.
 */
function streamError(error: unknown, publication: string): RockpoolError {
  if (error === undefined) return new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'Postgres ended the stream')
  if (codeOf(error) !== UNDEFINED_OBJECT) return sourceError(error)
  return new RockpoolError(
    'ROCKPOOL_SOURCE_CHANGED',
    `changes were written while there was no publication ${publication}`,
    {
      cause: error,
    },
  )
}
