import { z } from 'zod'

/**
 * The version of private messages between our own objects and Workers. A deploy replaces Workers at once and objects up
 * to five minutes later, so for some minutes code of two versions talks to each other, in both directions. A message is
 * understood when its version equals ours or differs by one.
 *
 * The rules that keep this true when the number is raised: receivers ignore unknown members. A new version may add
 * members, and its code works without them when they are missing. It may leave out only what the version before did not
 * need. Any other change takes two versions.
 */
export const MESSAGE_VERSION = 2
/** Returns whether code of version `own` understands a message of version `version`. */
export const understands = (version: number, own: number = MESSAGE_VERSION): boolean => Math.abs(version - own) <= 1
export type Versioned = { v: number }

/** The shape of a version that this code understands, for parsing frames. */
export const understoodVersion = z.number().refine((version) => understands(version))
