import { verifyChain } from './index.ts'
import { reasonOf } from './test-cases.ts'

/** A case of x509-limbo, as far as it is looked at. Certificates are PEM. */
export interface LimboCase {
  id: string
  trusted_certs: string[]
  untrusted_intermediates: string[]
  peer_certificate: string
  validation_time: string | null
  expected_result: 'SUCCESS' | 'FAILURE'
  expected_peer_name: { kind: string; value: string } | null
  max_chain_depth: number | null
}

/** "Now" of the cases that say none: when they were made. */
const MADE = Date.parse('2026-11-29T12:00:00Z')

const der = (pem: string): Uint8Array =>
  Uint8Array.from(atob(pem.replaceAll(/-----[^-]+-----|\s/g, '')), (each) => each.charCodeAt(0))

/** The reason for which a case is refused; `ok` when it passes. An error of another kind is a fault. */
export function judge(each: LimboCase, mode: 'full' | 'ca' = each.expected_peer_name === null ? 'ca' : 'full'): string {
  try {
    verifyChain({
      chain: [each.peer_certificate, ...each.untrusted_intermediates].map(der),
      anchors: each.trusted_certs.map(der),
      host: each.expected_peer_name?.value ?? '',
      mode,
      now: each.validation_time === null ? MADE : Date.parse(each.validation_time),
      maxIntermediates: each.max_chain_depth ?? Infinity,
    })
    return 'ok'
  } catch (error) {
    return reasonOf(error)
  }
}

const HINT =
  'identifiers of keys say where to look first: every authority of the name is tried, and only one whose key signed it counts'
const ANCHOR = 'what a root says of who signed it is not asked, for it stands in DATABASE_CA; Easy-RSA writes it so'

/**
 * Cases that must fail and pass. The first two contradict others, which must pass; the rest keeps no impostor out:
 * docs/decisions/0019.
 */
export const PASSES: Record<string, string> = {
  'webpki::eku::ee-without-eku':
    'rfc5280::eku::ee-without-eku must pass: a certificate without usages is for all of them',
  'rfc5280::nc::permitted-dns-match-noncritical':
    'webpki::nc::permitted-dns-match-noncritical must pass: constraints count, critical or not',
  'rfc5280::aki::leaf-missing-aki': HINT,
  'rfc5280::aki::intermediate-missing-aki': HINT,
  'rfc5280::aki::cross-signed-root-missing-aki': HINT,
  'rfc5280::ski::root-missing-ski': HINT,
  'rfc5280::ski::intermediate-missing-ski': HINT,
  'webpki::aki::root-with-aki-missing-keyidentifier': ANCHOR,
  'webpki::aki::root-with-aki-authoritycertissuer': ANCHOR,
  'webpki::aki::root-with-aki-authoritycertserialnumber': ANCHOR,
  'webpki::aki::root-with-aki-all-fields': ANCHOR,
  'rfc5280::root-non-critical-basic-constraints': 'the flag of an authority counts, critical or not (RFC 5280 6.1.4 k)',
}

/**
 * Cases that must pass and fail, with the reason that is given and why it stays so. docs/decisions/0019 says the same
 * to users.
 */
export const REFUSED: Record<string, { reason: string; why: string }> = {
  'rfc5280::ca-as-leaf': {
    reason: 'usage',
    why: 'webpki::ca-as-leaf must fail: an authority is no server, unless it is pinned',
  },
  'pathlen::validation-ignores-pathlen-in-leaf': {
    reason: 'usage',
    why: 'the same: the certificate of the server is one of an authority',
  },
}

/** What differs from the corpus; empty when nothing does but what the two lists above say. */
export function differences(cases: readonly LimboCase[]): string[] {
  const expected = ({ id, expected_result }: LimboCase): string => {
    if (id in PASSES) return 'ok'
    return REFUSED[id]?.reason ?? (expected_result === 'SUCCESS' ? 'ok' : 'refused')
  }
  return cases.flatMap((each) => {
    const judged = judge(each)
    const wanted = expected(each)
    const fine = wanted === 'refused' ? judged !== 'ok' : judged === wanted
    return fine ? [] : [`${each.id}: ${judged} instead of ${wanted}`]
  })
}
