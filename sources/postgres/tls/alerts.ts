import { RockpoolError, type ErrorCode } from '../../../protocol/errors.ts'

// RFC 8446 section 6: alerts.

export const Alert = {
  closeNotify: 0,
  unexpectedMessage: 10,
  badRecordMac: 20,
  recordOverflow: 22,
  handshakeFailure: 40,
  badCertificate: 42,
  illegalParameter: 47,
  decodeError: 50,
  decryptError: 51,
  protocolVersion: 70,
  insufficientSecurity: 71,
  internalError: 80,
  userCanceled: 90,
  missingExtension: 109,
  unsupportedExtension: 110,
  unrecognizedName: 112,
  certificateRequired: 116,
  noApplicationProtocol: 120,
} as const

const NAMES = new Map<number, string>(
  Object.entries(Alert).map(([name, number]) => [number, name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)]),
)

/** A connection that cannot be made or has ended. */
export class TlsError extends RockpoolError {
  /** What the server is told; null when it has said it itself, or is gone. */
  readonly alert: number | null

  constructor(code: ErrorCode, alert: number | null, message: string, cause?: unknown, details?: unknown) {
    super(code, message, { cause, details })
    this.alert = alert
  }
}

/** The server, or somebody in between, does not keep to the protocol. */
export const violation = (alert: number, message: string) => new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', alert, `TLS: ${message}`)

/** Whoever answers shows a certificate that is not his, or somebody in between changes what is said. */
export const unproved = (message: string) =>
  new TlsError('ROCKPOOL_SOURCE_TLS', Alert.decryptError, `TLS: ${message}`, undefined, { reason: 'proof' })

/** Only its operator can change what the server does. */
export const unsuitable = (alert: number, message: string, cause?: unknown) =>
  new TlsError('ROCKPOOL_SOURCE_SETTINGS', alert, `TLS: ${message}`, cause)

/** The connection broke off, and nobody said that it is over: somebody in between may have cut it. */
export const truncated = () => new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the connection broke off without its end being told')

/** What the transport threw. */
export function broken(error: unknown): TlsError {
  const reason = error instanceof Error ? error.message : String(error)
  return new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, `TLS: the connection broke off: ${reason}`, error)
}

const ONLY_13 =
  'the server speaks TLS 1.2 or older only, and TLS 1.3 is needed: take ssl_max_protocol_version out of its settings, or have a version of Postgres that offers it (with OpenSSL 1.1.1 or newer; on RDS and Aurora 16 or newer)'

const SAID = new Map<number, string>([
  [Alert.protocolVersion, ONLY_13],
  [Alert.handshakeFailure, 'the server accepts nothing of what is offered: TLS 1.3 with AES-GCM over X25519, P-256 or P-384'],
  [Alert.insufficientSecurity, 'the server accepts nothing of what is offered: TLS 1.3 with AES-GCM over X25519, P-256 or P-384'],
  [Alert.unrecognizedName, 'the server does not know the name of the host'],
  [Alert.certificateRequired, 'the server demands a certificate of its client, and there is none: it has to let clients in by password'],
  [Alert.noApplicationProtocol, 'the server does not speak the protocol "postgresql"'],
])

/** What a record with an alert says: null when the server has ended the connection in order. Levels mean nothing any more (6). */
export function readAlert(data: Uint8Array): TlsError | null {
  const [, description] = data
  if (data.length !== 2 || description === undefined) return violation(Alert.decodeError, 'an alert is not one')
  if (description === Alert.closeNotify) return null
  const name = NAMES.get(description) ?? `alert ${description}`
  const advice = SAID.get(description)
  if (advice !== undefined) return new TlsError('ROCKPOOL_SOURCE_SETTINGS', null, `TLS: ${advice} (${name})`)
  return new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, `TLS: the server ended the connection: ${name}`)
}
