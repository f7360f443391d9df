import {
  type Made,
  alternatives,
  authority,
  basic,
  constraints,
  dns,
  makeKeys,
  server,
  utc,
  extension,
  tlv,
} from './test-authority.ts'
import { type Case, chainCase, middle, root } from './test-cases.ts'
import { MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_NAMES, MAX_PATH } from './limits.ts'

const past = { from: utc('200101000000Z'), to: utc('210101000000Z') }

/** Authorities one below the other, the lowest first. */
function ladder(
  steps: number,
  top: Made,
  change: (step: number) => Parameters<typeof authority>[0] = () => ({}),
): Made[] {
  const made: Made[] = []
  for (let step = 0; step < steps; step++)
    made.unshift(authority({ cn: [`step ${step}`], by: made[0] ?? top, ...change(step) }))
  return made
}

/** Which way is found, and what it may be like. */
export function pathCases(): Case[] {
  const keys = makeKeys.p256()
  const old = authority({ cn: ['reissued'], keys, ...past })
  const renewed = authority({ cn: ['reissued'], keys })
  const otherKey = authority({ cn: ['reissued'] })
  const belowRenewed = server({ by: renewed })
  const stranger = authority({ cn: ['stranger'] })
  const crossSigned = authority({ cn: ['middle'], by: stranger, keys: middle.keys })
  const expiredMiddle = authority({ cn: ['middle'], by: root, keys: middle.keys, ...past })
  const belowMiddle = server({ by: middle })
  const long = ladder(MAX_PATH - 2, root)
  const tooLong = ladder(MAX_PATH - 1, root)
  const short = (length: number) => authority({ cn: ['short'], by: root, extensions: [basic(true, length)] })
  const [zero, one] = [short(0), short(1)]
  const [belowZero, belowOne] = [authority({ cn: ['below'], by: zero }), authority({ cn: ['below'], by: one })]
  const itself = authority({ cn: ['short'], by: zero, issuer: zero.name })
  const shortRoot = authority({ cn: ['short root'], extensions: [basic(true, 0)] })
  const belowShortRoot = authority({ cn: ['below'], by: shortRoot })
  const narrow = authority({ cn: ['narrow'], by: root, extensions: [constraints([dns('example.org')], [])] })
  const wide = authority({ cn: ['narrow'], by: root, keys: narrow.keys })
  const forged = server({ by: root })
  forged.der[forged.der.length - 1] = (forged.der.at(-1) ?? 0) ^ 1
  const ring = [authority({ cn: ['one'] }), authority({ cn: ['two'] })]
  const [first = root, second = root] = ring
  const round = [
    authority({ cn: ['one'], by: second, keys: first.keys }),
    authority({ cn: ['two'], by: first, keys: second.keys }),
  ]
  const crowded = crowd(4)
  return [
    chainCase('an unknown authority', 'authority', server({ by: stranger })),
    chainCase('an unknown root that is sent along', 'authority', server({ by: stranger }), { between: [stranger] }),
    chainCase(
      'an authority of the same name with another key',
      'authority',
      server({ by: authority({ cn: ['root'] }) }),
    ),
    chainCase('a broken signature', 'authority', forged),
    chainCase('the root is sent along', 3, belowMiddle, { between: [middle, root] }),
    chainCase('everything twice, and in disorder', 3, belowMiddle, {
      between: [root, stranger, middle, belowMiddle, middle],
    }),
    chainCase('the authority between is missing', 'authority', belowMiddle),
    chainCase('a reissued root, the expired one first', 2, belowRenewed, { anchors: [old, renewed] }),
    chainCase('a reissued root, the expired one last', 2, belowRenewed, { anchors: [renewed, old] }),
    chainCase('the expired root alone', 'expired', belowRenewed, { anchors: [old] }),
    chainCase('another root of the same name first', 2, belowRenewed, { anchors: [otherKey, renewed] }),
    chainCase('an authority that a stranger signed as well, his first', 3, belowMiddle, {
      between: [crossSigned, middle],
    }),
    chainCase('the same with the root of the stranger', 3, belowMiddle, { between: [crossSigned, stranger, middle] }),
    chainCase('an expired authority first', 3, belowMiddle, { between: [expiredMiddle, middle] }),
    chainCase('an expired authority alone', 'expired', belowMiddle, { between: [expiredMiddle] }),
    chainCase('an authority with fewer names first', 3, server({ by: wide }), { between: [narrow, wide] }),
    chainCase('the longest path', MAX_PATH, server({ by: long[0] ?? root }), { between: long }),
    chainCase('a path that is longer', 'path-length', server({ by: tooLong[0] ?? root }), { between: tooLong }),
    chainCase('path length 0 with a server below', 3, server({ by: zero }), { between: [zero] }),
    chainCase('path length 0 with an authority below', 'path-length', server({ by: belowZero }), {
      between: [belowZero, zero],
    }),
    chainCase('path length 1 with an authority below', 4, server({ by: belowOne }), { between: [belowOne, one] }),
    chainCase('path length 0 with itself renewed below', 4, server({ by: itself }), { between: [itself, zero] }),
    chainCase('path length 0 of a root', 'path-length', server({ by: belowShortRoot }), {
      between: [belowShortRoot],
      anchors: [shortRoot],
    }),
    chainCase('authorities in a ring', 'authority', server({ by: first }), { between: round }),
    chainCase('a crowd of authorities that sign each other', 'work', server({ by: crowded[0] ?? root }), {
      between: crowded,
    }),
    chainCase('more certificates than are read', 'too-large', belowMiddle, {
      between: new Array<Made>(MAX_CHAIN_CERTIFICATES).fill(middle),
    }),
    chainCase(
      'a certificate with more bytes than are read',
      'too-large',
      server({ by: root, extensions: [extension('1.2.3', tlv(0x04, new Uint8Array(MAX_CERTIFICATE_BYTES)))] }),
    ),
    chainCase('more names than are read', 'too-large', server({ by: root, extensions: [manyNames(MAX_NAMES + 1)] })),
    chainCase('as many names as are read', 2, server({ by: root, extensions: [manyNames(MAX_NAMES)] })),
  ]
}

const manyNames = (count: number) =>
  alternatives(Array.from({ length: count }, (_, i) => dns(i === 0 ? 'db.example.com' : `h${i}.example.com`)))

/** Authorities of one name, each signed by each other one: the ways through them are very many. */
function crowd(size: number): Made[] {
  const members = Array.from({ length: size }, () => authority({ cn: ['crowd'] }))
  return members.flatMap((each) =>
    members.filter((other) => other !== each).map((by) => authority({ cn: ['crowd'], by, keys: each.keys })),
  )
}
