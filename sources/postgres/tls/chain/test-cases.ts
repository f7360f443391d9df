import { verifyChain, type ChainOptions, type Reason } from './index.ts'
import { type Made, type Wanted, authority, makeKeys, server } from './test-authority.ts'

/** A chain that one rule decides about. */
export interface Case {
  name: string
  options: ChainOptions
  /** Certificates of the path, or why there is none. */
  expected: number | Reason
}

export const NOW = Date.parse('2026-11-29T12:00:00Z')
export const HOST = 'db.example.com'

/** The authority of most cases, and an authority below it. */
export const root = authority({ cn: ['root'] })
export const middle = authority({ cn: ['middle'], by: root })

interface Rest {
  anchors?: Made[]
  between?: Made[]
  host?: string
  mode?: 'full' | 'ca'
  now?: number
}

export function chainCase(
  name: string,
  expected: Case['expected'],
  leaf: Made,
  { anchors = [root], between = [], ...rest }: Rest = {},
): Case {
  const chain = [leaf, ...between].map(({ der }) => der)
  return {
    name,
    expected,
    options: { chain, anchors: anchors.map(({ der }) => der), host: HOST, mode: 'full', now: NOW, ...rest },
  }
}

/** A server right below the root, which differs in one thing. */
export const leafCase = (name: string, expected: Case['expected'], wanted: Wanted, rest: Rest = {}): Case =>
  chainCase(name, expected, server({ by: root, ...wanted }), rest)

/** A server below an authority below the root; that authority differs in one thing. */
export function middleCase(name: string, expected: Case['expected'], wanted: Wanted, rest: Rest = {}): Case {
  const changed = authority({ cn: ['middle'], by: root, ...wanted })
  return chainCase(name, expected, server({ by: changed }), { between: [changed], ...rest })
}

/** A server below a root that differs in one thing. */
export function rootCase(name: string, expected: Case['expected'], wanted: Wanted, rest: Rest = {}): Case {
  const changed = authority({ cn: ['changed root'], keys: makeKeys.p256(), ...wanted })
  return chainCase(name, expected, server({ by: changed }), { anchors: [changed], ...rest })
}

/** What comes of a chain, as `expected` says it. An error of another kind is a fault of ours. */
export function outcome(options: ChainOptions, verify: typeof verifyChain = verifyChain): number | string {
  try {
    return verify(options).length
  } catch (error) {
    return reasonOf(error)
  }
}

/**
 * Why a chain was refused. Throws what is no refusal. By the fields alone: a mutant has a class of errors of its own.
 */
export function reasonOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ROCKPOOL_SOURCE_TLS' && 'details' in error)
    return (error.details as { reason: string }).reason
  throw error
}
