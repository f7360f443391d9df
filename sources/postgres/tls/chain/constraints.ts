import { type DerReader, type Element, TAG, expectTag, inside, members, ownWith } from './der.ts'
import { isHostName } from './hosts.ts'
import { MAX_NAMES } from './limits.ts'
import { type GeneralName, type Name, hasEmail, isBelow, isEmpty, mayBeBelow, readGeneralName } from './names.ts'
import { refuse } from './refusal.ts'

// Name constraints (RFC 5280, 4.2.1.10). They always apply, critical or not. What cannot be compared with certainty is
// refused: a name of a constrained kind that we do not compare, a host that is not a host name, an excluded name that
// another reader might see in this one.

export interface NameConstraints {
  permitted: GeneralName[]
  excluded: GeneralName[]
}

const RFC822 = 1

/**
 * Throws for constraints without any name, with a `minimum` or `maximum`, and for hosts and addresses of an unknown
 * form.
 */
export function readNameConstraints(value: DerReader): NameConstraints {
  const reader = value.enter(TAG.sequence)
  const [permitted, excluded] = [ownWith(0), ownWith(1)].map((tag) => {
    const list = reader.optional(tag)
    return list === undefined ? [] : readSubtrees(list)
  })
  reader.end()
  if (!permitted?.length && !excluded?.length)
    return refuse('unreadable', 'a certificate cannot be read: its name constraints name nothing')
  return { permitted: permitted ?? [], excluded: excluded ?? [] }
}

function readSubtrees(list: Element): GeneralName[] {
  return members(inside(list), MAX_NAMES, 'name constraints').map((element) => {
    const reader = inside(expectTag(element, TAG.sequence))
    const name = readGeneralName(reader.next())
    if (!reader.done) refuse('unreadable', 'a certificate cannot be read: a name constraint has a minimum or a maximum')
    if (name.kind === 'dns' && name.value !== '' && !isHostName(name.value.toLowerCase()))
      refuse('unreadable', 'a certificate cannot be read: a constrained host is not a host name')
    if (name.kind === 'ip' && !isNetwork(name.bytes))
      refuse('unreadable', 'a certificate cannot be read: a constrained address is not a network')
    return name
  })
}

/** Returns true for an address and a mask of ones followed by zeros. */
function isNetwork(bytes: Uint8Array): boolean {
  if (bytes.length !== 8 && bytes.length !== 32) return false
  const bits = Array.from(bytes.subarray(bytes.length / 2), (byte) => byte.toString(2).padStart(8, '0')).join('')
  return !bits.includes('01')
}

/**
 * Throws `constraints` unless all names of a certificate below are allowed. `who` names that certificate for people.
 */
export function checkNames(
  constraints: NameConstraints,
  subject: Name,
  names: readonly GeneralName[],
  who: string,
): void {
  const all: GeneralName[] = isEmpty(subject) ? [...names] : [{ kind: 'directory', name: subject }, ...names]
  for (const name of all) {
    const permitted = constraints.permitted.filter((each) => sameKind(each, name))
    const excluded = constraints.excluded.filter((each) => sameKind(each, name))
    if (permitted.length === 0 && excluded.length === 0) continue
    const allowed = isComparable(name) && (permitted.length === 0 || permitted.some((each) => within(name, each)))
    if (!allowed || excluded.some((each) => touches(name, each))) refuseName(who)
  }
  // Where there is an address of e-mail in the subject, constraints of e-mail are for it (RFC 5280).
  const email = [...constraints.permitted, ...constraints.excluded].some(
    (each) => each.kind === 'other' && each.number === RFC822,
  )
  if (email && hasEmail(subject)) refuseName(who)
}

function refuseName(who: string): never {
  return refuse(
    'constraints',
    `${who} has a name that an authority above it does not allow (name constraints). Give the server a certificate with other names, or one from another authority`,
  )
}

const sameKind = (a: GeneralName, b: GeneralName): boolean =>
  a.kind === b.kind && (a.kind !== 'other' || (b.kind === 'other' && a.number === b.number))

const isComparable = (name: GeneralName): boolean =>
  name.kind === 'dns' ? isHostName(plain(name.value)) : name.kind !== 'other'

/** Returns the host in lower case, without a leading `*.`. */
const plain = (host: string): string => host.toLowerCase().replace(/^\*\./, '')

const isSubdomain = (host: string, base: string): boolean => base === '' || host === base || host.endsWith(`.${base}`)

/** Returns true when everything that `name` stands for is in `base`. */
function within(name: GeneralName, base: GeneralName): boolean {
  if (name.kind === 'dns' && base.kind === 'dns') return isSubdomain(plain(name.value), base.value.toLowerCase())
  if (name.kind === 'ip' && base.kind === 'ip') return inNetwork(name.bytes, base.bytes)
  return name.kind === 'directory' && base.kind === 'directory' && isBelow(name.name, base.name)
}

/** Returns true when something that `name` may stand for is in `base`. A wildcard stands for everything below it. */
function touches(name: GeneralName, base: GeneralName): boolean {
  if (name.kind === 'directory' && base.kind === 'directory') return mayBeBelow(name.name, base.name)
  if (name.kind === 'dns' && base.kind === 'dns' && name.value.startsWith('*.'))
    return within(name, base) || isSubdomain(base.value.toLowerCase(), plain(name.value))
  return within(name, base)
}

function inNetwork(address: Uint8Array, network: Uint8Array): boolean {
  const size = network.length / 2
  return (
    address.length === size && address.every((byte, i) => ((byte ^ (network[i] ?? 0)) & (network[size + i] ?? 0)) === 0)
  )
}
