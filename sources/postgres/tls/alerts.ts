import { RockpoolError, type ErrorCode } from '../../../protocol/errors.ts'

// RFC 8446 section 6, RFC 5246 section 7.2: alerts.

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
  Object.entries(Alert).map(([name, number]) => [
    number,
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
)

/** Thrown when a connection cannot be made or has ended. */
export class TlsError extends RockpoolError {
  /** The alert that the server is sent, or null when the server sent one itself, or is gone. */
  readonly alert: number | null
  /** The alert that the server sent, or null. */
  readonly said: number | null

  constructor(
    code: ErrorCode,
    alert: number | null,
    message: string,
    cause?: unknown,
    details?: unknown,
    said: number | null = null,
  ) {
    super(code, message, { cause, details })
    this.alert = alert
    this.said = said
  }
}

/** The server, or somebody in between, violates the protocol. */
export const violation = (alert: number, message: string) =>
  new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', alert, `TLS: ${message}`)

/** The server, or somebody in between, chose something that was not offered, which violates the protocol. */
export const notOffered = (what: string) =>
  violation(Alert.illegalParameter, `the server chose a ${what} that was not offered`)

/** The server shows a certificate that is not its own, or somebody in between changes messages. */
export const unproved = (message: string) =>
  new TlsError('ROCKPOOL_SOURCE_TLS', Alert.decryptError, `TLS: ${message}`, undefined, { reason: 'proof' })

/** Only the operator of the server can solve this. */
export const unsuitable = (alert: number, message: string, cause?: unknown) =>
  new TlsError('ROCKPOOL_SOURCE_SETTINGS', alert, `TLS: ${message}`, cause)

/** The connection ended without a close_notify, so somebody in between may have cut it. */
export const truncated = () =>
  new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the connection broke off without a close_notify')

/** Wraps an error of the transport. */
export function broken(error: unknown): TlsError {
  const reason = error instanceof Error ? error.message : String(error)
  return new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, `TLS: the connection broke off: ${reason}`, error)
}

const TOO_OLD =
  'the server speaks only TLS 1.1 or older, and Rockpool needs TLS 1.2 or 1.3: remove ssl_max_protocol_version from its settings, or use a Postgres with OpenSSL 1.1.0 or newer'
const NOTHING =
  'the server accepts nothing that is offered: TLS 1.3, or 1.2 with ECDHE, with AES-GCM over X25519, P-256 or P-384 (with 1.2 its certificate needs an RSA key or one on these curves)'
const NO_CERTIFICATE =
  'the server demands a client certificate, which Rockpool does not have: let the role log in with a password'

const SAID = new Map<number, string>([
  [Alert.protocolVersion, TOO_OLD],
  [Alert.handshakeFailure, NOTHING],
  [Alert.insufficientSecurity, NOTHING],
  [Alert.unrecognizedName, 'the server does not know the name of the host'],
  [Alert.certificateRequired, NO_CERTIFICATE],
  [Alert.noApplicationProtocol, 'the server does not speak the protocol "postgresql"'],
])

/**
 * Returns the error of an alert record, or null for close_notify, which ends the connection in order. Levels have no
 * meaning any more (6).
 */
export function readAlert(data: Uint8Array): TlsError | null {
  const [, description] = data
  if (data.length !== 2 || description === undefined) return violation(Alert.decodeError, 'an alert is malformed')
  if (description === Alert.closeNotify) return null
  const name = NAMES.get(description) ?? `alert ${description}`
  const advice = SAID.get(description)
  const said = (code: ErrorCode, text: string) =>
    new TlsError(code, null, `TLS: ${text}`, undefined, undefined, description)
  if (advice !== undefined) return said('ROCKPOOL_SOURCE_SETTINGS', `${advice} (${name})`)
  return said('ROCKPOOL_SOURCE_UNREACHABLE', `the server ended the connection: ${name}`)
}

/**
 * Returns the error of a connection whose server asked for a client certificate and got none. Some servers say so,
 * others say something else, and some just hang up.
 */
export function afterNoCertificate(error: unknown): unknown {
  if (!(error instanceof TlsError) || error.alert !== null) return error
  // 1.2 has no alert for it (RFC 5246 section 7.4.6).
  if (error.said === Alert.handshakeFailure)
    return new TlsError('ROCKPOOL_SOURCE_SETTINGS', null, `TLS: ${NO_CERTIFICATE} (handshake_failure)`, error)
  if (error.code === 'ROCKPOOL_SOURCE_SETTINGS') return error
  const reason =
    'before that the server asked for a client certificate, which Rockpool does not have: if it demands one, let the role log in with a password'
  return new TlsError(error.code, null, `${error.message}; ${reason}`, error)
}
