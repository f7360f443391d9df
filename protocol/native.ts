import type { StreamRequest } from './lines.ts'

/**
 * The native WebSocket of `/sync/stream`, with text frames only. The client's first frame is `open`. Each of the
 * server's frames is one sync line (see `lines.ts` and `ComparingLine`), several of them, or an error before the socket
 * closes.
 */
export type ClientFrame =
  /** `joined`: one frame may carry several short lines, separated by line feeds. */
  | { open: StreamRequest; token: string; credit?: number; joined?: boolean }
  /** Credit: the server may send this many more bytes. Adds to what is left. */
  | { credit: number }
  /** Renews the authorization without reconnecting. The token must be the same user's. */
  | { token: string }

/**
 * How much is compared with Postgres, 0 to 1, while a comparison holds back new checkpoints; null when there is none.
 * Only this protocol has this line. It is sent when the value changes; a connection begins with null.
 */
export type ComparingLine = { comparing: number | null }

export type ServerErrorFrame = { error: { code: string; message: string } }

/** Close codes of the native WebSocket. */
export const CLOSE_NORMAL = 1000
export const CLOSE_BAD_FRAME = 4400
export const CLOSE_UNAUTHORIZED = 4401
export const CLOSE_SERVER_FAULT = 4500
/** The stream used up its budget, or the server restarts: connect again at once. */
export const CLOSE_RECONNECT = 4503
