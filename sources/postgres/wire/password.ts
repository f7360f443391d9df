// RFC 4013 (SASLprep), as Postgres applies it to a password before it stores a verifier: a password that the RFC
// forbids is used unchanged.

/** RFC 3454 B.1. */
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200b-\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/gu
/** C.1.2. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu
/** C.2 to C.9: controls, private use, non-characters, surrogates, marks that change the text or its direction, tags. */
const FORBIDDEN =
  /\u0340|\u0341|[\u{1d173}-\u{1d17a}]|[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\u200e\u200f\u202a-\u202e\u2ff0-\u2ffb\ufff9-\ufffd\u{e0001}\u{e0020}-\u{e007f}]/u
/**
 * Section 6: right-to-left text must not be mixed, and must be at both ends. By blocks, which approximate the tables
 * D.1 and D.2 of the RFC.
 */
const RIGHT_TO_LEFT =
  /[\u05be\u05c0\u05c3\u05d0-\u05f4\u061b\u061f\u0621-\u064a\u066d-\u06ed\u06fa-\u07b1\ufb1d-\ufdfb\ufe70-\ufefc]/u
const LEFT_TO_RIGHT = /(?![\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])\p{L}/u

/**
 * Returns the password as it goes into the key of a login. Characters newer than Unicode 3.2, which the RFC forbids,
 * are prepared here.
 */
export function preparePassword(password: string): string {
  // Most passwords, and all generated ones.
  if (/^[ -~]*$/.test(password)) return password
  const prepared = password.replace(SPACES, ' ').replace(NOTHING, '').normalize('NFKC')
  return prepared === '' || FORBIDDEN.test(prepared) || isMixed(prepared) ? password : prepared
}

function isMixed(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return false
  const characters = [...text]
  return LEFT_TO_RIGHT.test(text) || ![characters[0], characters.at(-1)].every((end) => RIGHT_TO_LEFT.test(end ?? ''))
}
