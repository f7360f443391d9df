import { z } from 'zod'

// Who is connected: what relays say of their streams, what operators are shown, and the calls of the Census object. All
// of it is soft: nothing depends on it, and whatever is missing is asked for again.

/** UTF-16 units of a user, a client and an SDK that are shown; the rest is cut off. */
export const MAX_SHOWN_TEXT = 128
export const MAX_SHOWN_SDK = 64

/** Whose stream it is, as it is shown to operators. */
export const streamSource = z.object({
  user: z.string().max(MAX_SHOWN_TEXT),
  /** Its id, or '' when it sends none. */
  client: z.string().max(MAX_SHOWN_TEXT),
  /** What its software calls itself, or ''. */
  sdk: z.string().max(MAX_SHOWN_SDK),
})
export type StreamSource = z.infer<typeof streamSource>

export const shownStream = z.strictObject({
  user: z.string().nullable().describe('`sub` of its token; null for a stream that an older release has opened'),
  client: z.string().nullable().describe('the id of its client; empty when it sends none'),
  sdk: z.string().nullable().describe('what the software of its client calls itself'),
  since: z.iso.datetime().describe('when it began'),
  buckets: z.int(),
  position: z.int().nullable().describe('the last checkpoint that it was told of; null: none yet'),
  held: z.int().describe('bytes that its relay has sent and it has not taken'),
})
export type ShownStream = z.infer<typeof shownStream>

/** What a relay answers. `more`: streams that are not listed. */
export interface RelayClients {
  streams: ShownStream[]
  more: number
}

const relayCount = z.strictObject({
  relay: z.string(),
  streams: z.int().nullable().describe('as it last said by itself; null: never'),
  at: z.iso.datetime().nullable().describe('when it said that'),
})

export const clientsShape = z.strictObject({
  at: z.iso.datetime().describe('when the relays were asked'),
  total: z.int().describe('open streams, without those of silent relays'),
  streams: z.array(shownStream),
  more: z.int().describe('streams that are counted in `total` and not listed'),
  silent: z.array(relayCount).describe('relays that did not answer within a second'),
})
export type Clients = z.infer<typeof clientsShape>

/** What the Census has. */
export const censusLook = z.object({
  clients: clientsShape.nullable(),
  /** By the name of the relay: its number of streams, and when it was said, as ISO 8601. */
  relays: z.record(z.string(), z.object({ streams: z.int(), at: z.string() })),
})
export type CensusLook = z.infer<typeof censusLook>

/** A relay says its number of streams. */
export const censusReport = z.object({ relay: z.string().max(200), streams: z.int().min(0) })
export type CensusReport = z.infer<typeof censusReport>

/** The calls of the Census object. There are no others. */
export interface CensusCalls {
  look(): Promise<CensusLook>
  keep(clients: Clients): Promise<void>
  report(report: CensusReport): Promise<void>
  erase(): Promise<void>
}
