import type { RockpoolError } from '../../../../protocol/errors.ts'
import { type Certificate, fingerprint, isSelfIssued } from './certificate.ts'
import { checkNames } from './constraints.ts'
import { sameBytes } from './der.ts'
import { checkSignatureKind } from './keys.ts'
import { MAX_PATH, MAX_SIGNATURE_CHECKS } from './limits.ts'
import { sameName, showName } from './names.ts'
import { isRefusal, refusal, refuse } from './refusal.ts'
import { checkAuthority, checkKey } from './rules.ts'

export interface Search {
  /** The certificates that the server sent beside its own. */
  intermediates: readonly Certificate[]
  anchors: readonly Certificate[]
  now: number
  /** The most authorities between leaf and anchor, not counting self-issued ones. */
  maxIntermediates: number
}

/**
 * Returns a path of signatures from the leaf to an authority of DATABASE_CA that keeps all rules. Tries every anchor
 * and then every intermediate with the issuer's name, and backtracks from dead ends. Throws the error of the longest
 * path, or of the first one of equal length; `work` when too many signatures would have to be checked.
 */
export function findPath(leaf: Certificate, { intermediates, anchors, now, maxIntermediates }: Search): Certificate[] {
  let checks = 0
  let longest = { length: 0, error: refusal('authority', '') }
  const signs = (issuer: Certificate, certificate: Certificate): boolean => {
    if (++checks > MAX_SIGNATURE_CHECKS)
      refuse(
        'work',
        `the chain of the server needs more than ${MAX_SIGNATURE_CHECKS} signature checks. Let it send only its own chain`,
      )
    return isSignedBy(certificate, issuer)
  }
  const note = (length: number, error: typeof longest.error) => {
    if (length > longest.length) longest = { length, error }
  }

  /** Extends the path `below` by an authority of its last certificate, `top`. */
  const extend = (below: readonly Certificate[], top: Certificate): Certificate[] | null => {
    const path = [...below, top]
    // The signature of an anchor is not checked.
    checkSignatureKind(top.signature, top.who)
    const isTop = (issuer: Certificate) => sameName(issuer.subject, top.issuer)
    const known = anchors.filter(isTop)
    const sent = intermediates.filter((issuer) => isTop(issuer) && !path.some((each) => samePlace(each, issuer)))
    let signed = false
    for (const issuer of [...known, ...sent]) {
      try {
        const anchor = known.includes(issuer)
        // Checked first, so that nothing is computed with a key of any size.
        checkKey(issuer)
        if (!signs(issuer, top)) continue
        signed = true
        if (path.length === MAX_PATH)
          refuse('path-length', `the chain of the server is longer than ${MAX_PATH} certificates`)
        if (!anchor && isSelfIssued(issuer) && signs(issuer, issuer)) throw unknownAuthority(issuer, known, anchors)
        checkAuthority(issuer, anchor, now)
        if (anchor) {
          checkPath([...path, issuer], maxIntermediates)
          return [...path, issuer]
        }
        const found = extend(path, issuer)
        if (found !== null) return found
      } catch (error) {
        if (!isRefusal(error) || isRefusal(error, 'work')) throw error
        note(path.length + 1, error)
      }
    }
    if (!signed) note(path.length, unknownAuthority(top, known, anchors))
    return null
  }

  const found = extend([], leaf)
  if (found === null) throw longest.error
  return found
}

/** Returns true for two certificates of one authority. A path with both would be a circle. */
const samePlace = (a: Certificate, b: Certificate): boolean =>
  sameName(a.subject, b.subject) && sameBytes(a.key.der, b.key.der)

function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  try {
    return certificate.x509.verify(issuer.x509.publicKey)
  } catch {
    // The runtime does not accept this key, or not for this kind of signature.
    return false
  }
}

/**
 * Checks what only the whole path shows, leaf first: how many authorities are below each, and which names each allows
 * below itself.
 */
function checkPath(path: readonly Certificate[], maxIntermediates: number): void {
  let between = 0
  for (const [i, authority] of path.entries()) {
    if (i === 0) continue
    if (between > (authority.extensions.basic?.pathLength ?? Infinity))
      refuse(
        'path-length',
        `${authority.who} allows fewer authorities below it than the chain has. Use a shorter chain`,
      )
    if (i < path.length - 1 && !isSelfIssued(authority) && ++between > maxIntermediates)
      refuse(
        'path-length',
        `the chain of the server has more than ${maxIntermediates} authorities between it and DATABASE_CA`,
      )
    const { constraints } = authority.extensions
    if (constraints === undefined) continue
    for (const [k, below] of path.slice(0, i).entries())
      if (k === 0 || !isSelfIssued(below))
        checkNames(constraints, below.subject, below.extensions.alternativeNames?.names ?? [], below.who)
  }
}

/**
 * Returns the error for a chain that ends with `top`, for which no authority vouches. `named` are authorities with the
 * right name and another key.
 */
function unknownAuthority(
  top: Certificate,
  named: readonly Certificate[],
  anchors: readonly Certificate[],
): RockpoolError {
  const list = anchors.slice(0, 5).map(({ subject }) => `"${showName(subject)}"`)
  const known = [...list, ...(anchors.length > list.length ? ['…'] : [])].join(', ')
  const by = isSelfIssued(top) ? 'itself' : `"${showName(top.issuer)}"`
  const others = named.slice(0, 3).map(fingerprint).join(', ')
  const other =
    others === ''
      ? ''
      : `. There is an authority of that name, but with another key or another certificate (SHA-256 ${others})`
  return refusal(
    'authority',
    `the chain of the server ends with ${top.who} (SHA-256 ${fingerprint(top)}), signed by ${by}. That is not one of the authorities in DATABASE_CA (${known})${other}. ` +
      'If your host has a new authority, get its certificate from there, not from the server, and put it into DATABASE_CA beside the old one',
  )
}
