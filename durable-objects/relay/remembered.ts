import type { OpId } from '../../protocol/ops.ts'
import { closeQuietly } from '../shared/sockets.ts'
import { attachmentOf, type Attachment, type ReplicatorAttachment, type StreamAttachment } from './attachments.ts'
import { Marks, unpackMarks } from './marks.ts'
import type { SavedCheckpoint, SavedStream } from './ports.ts'

export interface RememberedStream {
  socket: WebSocket
  state: StreamAttachment
  saved: SavedStream
}

/** What the sockets of a relay remember of it after hibernation. */
export interface Remembered {
  marks: Marks
  streams: RememberedStream[]
  replicator: { socket: WebSocket; state: ReplicatorAttachment } | null
  /** Null when the replicator's socket is gone, or has no checkpoint. */
  at: SavedCheckpoint | null
}

/**
 * Reads the attachments of a relay's sockets, and closes the sockets that do not remember enough: their other ends
 * connect again.
 */
export function remembered(streamSockets: readonly WebSocket[], replicatorSockets: readonly WebSocket[]): Remembered {
  const { marks, streams } = rememberedStreams(streamSockets)
  return { marks, streams, ...rememberedReplicator(replicatorSockets, marks) }
}

function rememberedStreams(sockets: readonly WebSocket[]): Pick<Remembered, 'marks' | 'streams'> {
  let marks = new Marks()
  const streams: RememberedStream[] = []
  for (const socket of sockets) {
    const state = attachmentOf(socket)
    if (state?.kind !== 'stream' || state.marks === null) {
      closeQuietly(socket, 1012, 'its buckets are not remembered')
      continue
    }
    const { kind: _, key, ...stream } = state
    const { form, toldPlan, owing, comparing } = stream
    // All attachments have the same key: it was made when there were none.
    if (streams.length === 0) marks = new Marks(key)
    streams.push({
      socket,
      state: stream,
      saved: { marks: unpackMarks(state.marks), toldPlan, form, owing, comparing },
    })
  }
  return { marks, streams }
}

function rememberedReplicator(sockets: readonly WebSocket[], marks: Marks): Pick<Remembered, 'replicator' | 'at'> {
  let replicator: Remembered['replicator'] = null
  let newest: OpId = 0
  let at: SavedCheckpoint | null = null
  for (const socket of sockets) {
    const attachment = attachmentOf(socket)
    if (attachment?.kind !== 'replicator') continue
    const { kind: _, key: __, ...state } = attachment
    const fenced = fencedIn(attachment, marks)
    if (fenced === null) {
      closeQuietly(socket, 1012, 'which buckets are fenced was lost')
      continue
    }
    const { checkpoint, plan, comparing } = state
    if (newest > (checkpoint ?? 0)) continue
    newest = checkpoint ?? 0
    replicator = { socket, state }
    if (checkpoint !== null) at = { checkpoint, plan, fenced, comparing }
  }
  return { replicator, at }
}

/**
 * Returns the marks of fenced buckets, or null when the attachment does not have them, or has them by a key that no
 * stream has any more.
 */
function fencedIn(
  { fenced, fencedMarks, key }: Extract<Attachment, { kind: 'replicator' }>,
  marks: Marks,
): string[] | null {
  if (!fenced) return []
  return fencedMarks && key && marks.isBy(key) ? unpackMarks(fencedMarks) : null
}
