import { hash } from '../core/store/hash.ts'

/**
 * Names the file of a database in this origin: two projects on one origin, and two users of one browser, do not share
 * one. Without a user it belongs to whoever comes first.
 */
export function fileOf(name: string, url: string, user: string | undefined): string {
  const part = (text: string): string => hash(text).toString(36)
  // A name may have characters that no file has.
  return [encodeURIComponent(name), part(url), ...(user === undefined ? [] : [part(`u${user}`)])].join('-')
}

const of = (file: string, what: string): string => `rockpool/${file}/${what}`

/** Whoever holds it may open the file. */
export const ownerLock = (file: string): string => of(file, 'owner')
/** A tab holds it as long as it can be reached. */
export const tabLock = (file: string, tab: string): string => of(file, `tab/${tab}`)
/** A worker holds it as long as it lives: one that runs out of memory ends without an event. */
export const workerLock = (file: string, worker: string): string => of(file, `worker/${worker}`)
/** Heard by the owner. */
export const requestChannel = (file: string): string => of(file, 'requests')
/** Heard by one tab. */
export const tabChannel = (file: string, tab: string): string => of(file, `answers/${tab}`)
/** Heard by all tabs. */
export const allChannel = (file: string): string => of(file, 'all')
/** Of the page: a file was opened here. */
export const mark = (file: string): string => of(file, 'opened')
