/** A certificate of an authority that is shipped. */
export interface Root {
  /** The day it ends, as in the certificate; for people, and for the test that warns a year before. */
  until: string
  /** DER, base64. */
  der: string
}
