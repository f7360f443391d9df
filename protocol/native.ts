import type { StreamRequest } from './lines.ts'

/**
 * The native WebSocket of `/sync/stream`: text frames only. The client's first frame is `open`. The server's frames are a sync line each
 * (see `lines.ts` and `ComparingLine`), or several, or an error before close.
 */
export type ClientFrame =
  /** `joined`: short lines may come together in one frame, with a line feed between them. */
  | { open: StreamRequest; token: string; credit?: number; joined?: boolean }
  /** More bytes that the server may send; adds to what is left. */
  | { credit: number }
  /** Renews the authorisation without reconnecting. It must be of the same user. */
  | { token: string }

/**
 * How much is compared with Postgres, 0 to 1, while nothing new comes because of that; null: nothing is. A line that this protocol alone has. It is sent when it has
 * changed; a connection begins with null.
 */
export type ComparingLine = { comparing: number | null }

export type ServerErrorFrame = { error: { code: string; message: string } }

/** Close codes of the native WebSocket. */
export const CLOSE_NORMAL = 1000
export const CLOSE_BAD_FRAME = 4400
export const CLOSE_UNAUTHORIZED = 4401
export const CLOSE_SERVER_FAULT = 4500
/** The stream used up its budget or the server restarts: connect again at once. */
export const CLOSE_RECONNECT = 4503
