import type { Clients, RelayClients, ShownStream } from '../../protocol/messages/census.ts'

/** Streams of a tenant that are listed, and UTF-8 bytes of the list. The others are counted. */
export const MAX_STREAMS = 1_000
export const MAX_BYTES = 512 * 1024
/** Relays whose own reports are kept: twice as many as a tenant may have. */
export const MAX_RELAYS = 200

/** Returns as many streams as are listed, and the number of the others. The newest come first. */
export function bounded(streams: readonly ShownStream[]): RelayClients {
  const sorted = [...streams].sort((a, b) => (a.since < b.since ? 1 : a.since > b.since ? -1 : 0))
  const listed: ShownStream[] = []
  let bytes = 0
  for (const stream of sorted) {
    bytes += Buffer.byteLength(JSON.stringify(stream)) + 1
    if (listed.length === MAX_STREAMS || bytes > MAX_BYTES) break
    listed.push(stream)
  }
  return { streams: listed, more: streams.length - listed.length }
}

/** Puts the answers of a tenant's relays together. */
export function joined(answers: readonly RelayClients[], silent: Clients['silent'], now: Date): Clients {
  const { streams, more } = bounded(answers.flatMap((each) => each.streams))
  const unlisted = answers.reduce((sum, each) => sum + each.more, more)
  return { at: now.toISOString(), total: streams.length + unlisted, streams, more: unlisted, silent: [...silent] }
}
