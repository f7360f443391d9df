import { bounded } from '../census/kept.ts'
import { jsonOrNull } from '../../protocol/json.ts'
import { streamSource, type RelayClients, type StreamSource } from '../../protocol/messages/census.ts'
import type { StreamAttachment } from './attachments.ts'

/** A relay says its number of streams at most this often, and only while it is awake anyway. */
export const REPORT_MS = 10_000

/** Returns who opens a stream, as the Worker says it in a header; undefined when an older one does not. */
export function sourceOf(header: string | null): StreamSource | undefined {
  if (header === null) return undefined
  try {
    return streamSource.safeParse(jsonOrNull(decodeURIComponent(header))).data
  } catch {
    return undefined
  }
}

/** Returns what operators are shown of a relay's streams. */
export function shownClients(streams: Iterable<[state: StreamAttachment, buckets: number]>): RelayClients {
  return bounded(
    Array.from(streams, ([{ source, since, position, sent, received }, buckets]) => ({
      user: source?.user ?? null,
      client: source?.client ?? null,
      sdk: source?.sdk ?? null,
      since: new Date(since).toISOString(),
      buckets,
      position: position ?? null,
      held: Math.max(0, sent - received),
    })),
  )
}
