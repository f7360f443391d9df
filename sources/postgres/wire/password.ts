import { isLeftToRight, isRightToLeft, isUnassigned } from './stringprep-tables.ts'

// RFC 4013 (SASLprep), as Postgres applies it to a password before it stores a verifier (pg_saslprep of 15 and 18): a
// password that the RFC forbids is used unchanged, and what is forbidden is looked for before the text is normalized.

/** RFC 3454 B.1. */
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200b-\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/gu
/** C.1.2. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu
/** C.2 to C.9: controls, private use, non-characters, surrogates, marks that change the text or its direction, tags. */
const FORBIDDEN =
  /\u0340|\u0341|[\u{1d173}-\u{1d17a}]|[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\u200e\u200f\u202a-\u202e\u2ff0-\u2ffb\ufff9-\ufffd\u{e0001}\u{e0020}-\u{e007f}]/u

/** Returns the password as it goes into the key of a login. */
export function preparePassword(password: string): string {
  // Most passwords, and all generated ones.
  if (/^[ -~]*$/.test(password)) return password
  const mapped = password.replace(SPACES, ' ').replace(NOTHING, '')
  const codePoints = Array.from(mapped, (character) => character.codePointAt(0) ?? 0)
  const forbidden =
    codePoints.length === 0 || FORBIDDEN.test(mapped) || codePoints.some(isUnassigned) || isMixed(codePoints)
  return forbidden ? password : mapped.normalize('NFKC')
}

/** RFC 3454 section 6: right-to-left text must not be mixed, and must be at both ends. */
function isMixed(codePoints: readonly number[]): boolean {
  if (!codePoints.some(isRightToLeft)) return false
  return codePoints.some(isLeftToRight) || ![codePoints[0], codePoints.at(-1)].every((end = 0) => isRightToLeft(end))
}
