import { RockpoolError } from '../../../../protocol/errors.ts'
import { readCertificate } from './certificate.ts'
import { sameBytes } from './der.ts'
import { MAX_ANCHORS, MAX_PEM_LENGTH } from './limits.ts'
import { isRefusal } from './refusal.ts'

const settings = (message: string) => new RockpoolError('ROCKPOOL_SETTINGS', `DATABASE_CA: ${message}`)

/**
 * Returns the DER of the certificates in a PEM text, each once, in its order. There may be several while an authority
 * is renewed. Text around them is a comment, as in the bundles of hosts. Throws ROCKPOOL_SETTINGS, and never shows the
 * text.
 */
export function readAuthorities(text: string): Uint8Array[] {
  if (text.length > MAX_PEM_LENGTH)
    throw settings(`it has ${text.length} characters, and at most ${MAX_PEM_LENGTH} are allowed`)
  // Settings files often write line breaks as \n, and PEM itself has no backslash.
  const pem = text.replaceAll('\\r', '').replaceAll('\\n', '\n')
  if (/PRIVATE KEY-----/.test(pem))
    throw settings(
      'it contains a private key. Only certificates belong here: remove the key, and replace it with a new one if this text was stored anywhere else',
    )
  const { parts, isCut } = partsOf(pem)
  if (parts.length === 0) throw settings(`it contains no certificate. ${adviceFor(pem)}`)
  if (isCut)
    throw settings(
      'a certificate in it is cut off: each begins with -----BEGIN CERTIFICATE----- and ends with -----END CERTIFICATE-----',
    )
  if (parts.length > MAX_ANCHORS)
    throw settings(
      `it contains ${parts.length} certificates, and at most ${MAX_ANCHORS} are allowed. Leave out those of other regions`,
    )
  const found: Uint8Array[] = []
  for (const [i, { label, body, end }] of parts.entries()) {
    if (label !== 'CERTIFICATE' || end !== label)
      throw settings(
        `part ${i + 1} is a "${label.slice(0, 40)}", and only "CERTIFICATE" is accepted. openssl x509 -in FILE converts a TRUSTED CERTIFICATE`,
      )
    const der = decode(body, i)
    checkCertificate(der, i)
    if (!found.some((each) => sameBytes(each, der))) found.push(der)
  }
  return found
}

interface Part {
  /** The label in its BEGIN and END lines. */
  label: string
  end: string
  body: string
}

/**
 * Pairs each BEGIN with the END that follows it. `isCut` says that one has no partner. Reads each character once,
 * because the text may be a tenant's.
 */
function partsOf(pem: string): { parts: Part[]; isCut: boolean } {
  const markers = [...pem.matchAll(/-----(BEGIN|END) ([^\n\r-]*)-----/g)]
  const parts: Part[] = []
  let isCut = markers.length < [...pem.matchAll(/-----(?:BEGIN|END)/g)].length
  let open: { label: string; from: number } | null = null
  for (const marker of markers) {
    const [text, kind, label = ''] = marker
    const begins = kind === 'BEGIN'
    if (begins === (open !== null)) isCut = true
    else if (open) parts.push({ label: open.label, end: label, body: pem.slice(open.from, marker.index) })
    open = begins ? { label, from: marker.index + text.length } : null
  }
  return { parts, isCut: isCut || open !== null }
}

function decode(body: string, i: number): Uint8Array {
  const text = body.replaceAll(/\s/g, '')
  if (text === '' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text))
    throw settings(`certificate ${i + 1} is not base64. Copy the file again as it is, with its line breaks`)
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}

function checkCertificate(der: Uint8Array, i: number): void {
  try {
    readCertificate(der, `certificate ${i + 1}`)
  } catch (error) {
    throw isRefusal(error) ? settings(error.message) : error
  }
}

function adviceFor(text: string): string {
  if (text.trim() === '') return 'It is empty: leave the setting out to trust public authorities'
  if (/^[^\n]{1,500}\.(?:pem|crt|cer|ca)\s*$/i.test(text))
    return 'It is the name of a file: set it to the text of the file'
  if (/^\s*MII[A-Za-z0-9+/=\s]+$/.test(text))
    return 'The lines -----BEGIN CERTIFICATE----- and -----END CERTIFICATE----- are missing around it'
  return 'It must be the text of a PEM file, which begins with -----BEGIN CERTIFICATE-----'
}
