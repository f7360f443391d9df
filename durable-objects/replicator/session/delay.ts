/** Resolves after this time. Rejects as soon as `failure` does. */
export function delay(milliseconds: number, failure: Promise<never>): Promise<void> {
  let timer: ReturnType<typeof setTimeout>
  const slept = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)))
  return Promise.race([slept, failure]).finally(() => clearTimeout(timer))
}
