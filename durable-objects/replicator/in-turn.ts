/** Buckets that are called at a time. */
const AT_ONCE = 20

/** Calls for each name, some of them at a time. Rejects with the first failure. */
export async function inTurn(names: readonly string[], work: (name: string) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < names.length; i += AT_ONCE) await Promise.all(names.slice(i, i + AT_ONCE).map(work))
}
