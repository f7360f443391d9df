/** What a test asks of a Worker: a connection to `port`, `echo` bytes there and back, or what comes up to the end. */
export interface TlsWish {
  port: number
  host?: string
  echo?: number
  /** The handshake's, 5 s when nothing is said. */
  deadlineMs?: number
  recordsOfAKey?: number
  /** It is Postgres: TLS is asked for, and the answer to this startup packet is read. */
  startup?: number[]
}

export interface TlsAnswer {
  /** `read N` bytes, or what went wrong. */
  outcome: string
  code?: string
  suite?: string
  group?: string
  alpn?: string | null
  chunks: number
  handshakeMs: number
  ms: number
}
