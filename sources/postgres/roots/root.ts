/** A certificate of an authority that is shipped. */
export interface Root {
  /** The day on which it expires, for people, and for the test that warns a year before. */
  until: string
  /** DER, base64. */
  der: string
}
