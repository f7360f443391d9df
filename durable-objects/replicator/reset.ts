/**
 * Why replicators of this isolate were reset, by tenant: what the reset itself would store is undone by it, so the next
 * incarnation does.
 */
const reasons = new Map<string, string>()

/** Ends an object whose memory and storage may differ; the next incarnation begins from storage. */
export function resetOf(ctx: Pick<DurableObjectState, 'abort'>, tenant: string): (error: unknown) => void {
  return (error) => {
    const reason = error instanceof Error ? error.message : String(error)
    console.error('the replicator is reset', error)
    reasons.set(tenant, reason)
    ctx.abort(reason)
  }
}

/** Returns why the last incarnation was reset, once, or null when it was not, or in another isolate. */
export function takeResetReason(tenant: string): string | null {
  const reason = reasons.get(tenant)
  reasons.delete(tenant)
  return reason ?? null
}
