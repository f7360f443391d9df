// Limits of the replicator that several of its rooms keep.

/** `FENCE_SECONDS` when nothing else is said. */
export const FENCE_SECONDS = 600
/** Bytes of messages, and UTF-16 units of ops, at which a slice is made. */
export const SLICE_LENGTH = 4 * 1024 * 1024
