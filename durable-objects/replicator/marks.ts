import { z } from 'zod'

const shape = z.object({ mark: z.string() })

/** Our messages in the WAL carry the slot's name: several Rockpools may follow one database. */
export const markerPrefix = (settings: { slot: string }): string => `rockpool:${settings.slot}`

/** The content of a message by which a session finds a place in the stream again. */
export const markText = (mark: string): string => JSON.stringify({ mark })

/** What `markText` was given; null for messages of other kinds. */
export function parseMark(content: string): string | null {
  try {
    return shape.safeParse(JSON.parse(content)).data?.mark ?? null
  } catch {
    return null
  }
}
