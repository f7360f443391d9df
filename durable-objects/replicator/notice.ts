import { MESSAGE_VERSION, type NoticeBucket, type ReplicatorFrame } from '../../protocol/messages.ts'
import type { Commit } from './pipeline.ts'

/** A WebSocket message takes 1 MiB (32 MiB on newer dates); parts stay well below in UTF-16 units of ASCII and most texts. */
const PART_LENGTH = 300_000

/** A notice as texts of numbered frames. It takes effect with the last one. */
export function noticeFrames(commit: Commit): string[] {
  const groups: NoticeBucket[][] = [[]]
  let length = 0
  for (const bucket of commit.buckets) {
    const size = 64 + (bucket[4]?.length ?? 0)
    if (length + size > PART_LENGTH && length > 0) {
      groups.push([])
      length = 0
    }
    groups.at(-1)?.push(bucket)
    length += size
  }
  return groups.map((buckets, i) => {
    const frame: ReplicatorFrame = {
      v: MESSAGE_VERSION,
      type: 'notice',
      checkpoint: commit.checkpoint,
      previous: commit.previous,
      plan: commit.plan,
      part: i + 1,
      parts: groups.length,
      buckets,
    }
    return JSON.stringify(frame)
  })
}

export function gapFrame(checkpoint: number, plan: string | null): string {
  const frame: ReplicatorFrame = { v: MESSAGE_VERSION, type: 'gap', checkpoint, plan }
  return JSON.stringify(frame)
}
