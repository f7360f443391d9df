import { z } from 'zod'

/**
 * Private messages between our own objects and Workers. Deploys replace Workers at once and objects up to five minutes later, so for some minutes
 * code of two versions talks to each other, either way round: a message is understood when its version is the own one or one beside it.
 *
 * What makes that true when this number is raised: receivers ignore members that they do not know. A new version may add members, and its code does
 * without them when they are missing; it may leave out only what the version before did not need. Whatever cannot be done so takes two versions.
 */
export const MESSAGE_VERSION = 2
/** Whether code of version `own` understands a message of this version. */
export const understands = (version: number, own: number = MESSAGE_VERSION): boolean => Math.abs(version - own) <= 1
export type Versioned = { v: number }

/** The version of a message that this code understands, where frames are parsed. */
export const understoodVersion = z.number().refine((version) => understands(version))
