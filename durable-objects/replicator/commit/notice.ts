import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { NameForm, NoticeBucket, ReplicatorFrame } from '../../../protocol/messages/relay.ts'
import { frameName, hashName } from '../../../protocol/names.ts'
import type { Commit } from './pipeline.ts'

/**
 * The length of a part in UTF-16 units. A WebSocket message takes 1 MiB (32 MiB with newer compatibility dates), and
 * parts of ASCII and most texts stay well below.
 */
const PART_LENGTH = 300_000

/**
 * Returns a notice as the strings of numbered frames, which takes effect with the last one, or a gap when the notice
 * has no buckets.
 */
export const noticeFrames = (commit: Commit, fenced: readonly string[] = [], partLength = PART_LENGTH): string[] =>
  framesOf(
    commit,
    'name',
    commit.buckets?.map(([bucket, ...rest]) => [frameName(bucket), ...rest]),
    fenced,
    partLength,
  )

/** Returns the names that the frames of a notice use for its buckets, see `frameName`. */
export const namesIn = (frames: readonly string[]): Set<string> =>
  new Set(
    frames.flatMap((text) => (JSON.parse(text) as { buckets?: NoticeBucket[] }).buckets?.map(([name]) => name) ?? []),
  )

/** Returns the frames for a relay of version 1, without ops: such a relay would match them by the hash alone. */
export const hashedFrames = (commit: Commit): string[] =>
  framesOf(
    commit,
    undefined,
    commit.buckets?.map(([bucket, count, checksum, last]) => [hashName(bucket), count, checksum, last, null]),
  )

function framesOf(
  commit: Commit,
  form: NameForm | undefined,
  entries: readonly NoticeBucket[] | undefined,
  fenced: readonly string[] = [],
  partLength = PART_LENGTH,
): string[] {
  if (!entries) return [gapFrame(commit.checkpoint, commit.plan, fenced)]
  const groups: NoticeBucket[][] = [[]]
  let length = 0
  for (const bucket of entries) {
    const size = 64 + bucket[0].length + (bucket[4]?.length ?? 0)
    if (length + size > partLength && length > 0) {
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
      form,
      ...fencedOf(fenced),
      buckets,
    }
    return JSON.stringify(frame)
  })
}

/**
 * Returns a gap. `fenced` has whole names. `comparing` is as in `ReplicatorFrame`, or null when nothing is compared.
 */
export function gapFrame(
  checkpoint: number,
  plan: string | null,
  fenced: readonly string[] = [],
  comparing: number | null = null,
): string {
  const more = { ...fencedOf(fenced), ...(comparing !== null && { comparing }) }
  const frame: ReplicatorFrame = { v: MESSAGE_VERSION, type: 'gap', checkpoint, plan, form: 'name', ...more }
  return JSON.stringify(frame)
}

const fencedOf = (names: readonly string[]): Pick<ReplicatorFrame, 'fenced'> =>
  names.length === 0 ? {} : { fenced: names.map(frameName) }
