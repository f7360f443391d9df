/** Buckets that are called at a time. */
const AT_ONCE = 20

/** Calls for each name, or whatever names a bucket, some of them at a time. Rejects with the first failure. */
export async function inTurn<T>(names: readonly T[], work: (name: T) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < names.length; i += AT_ONCE) await Promise.all(names.slice(i, i + AT_ONCE).map(work))
}
