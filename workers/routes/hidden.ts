import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import type { Operator } from '../auth/permissions.ts'

// Who may see the state of a tenant, and not its data, is not shown what rows, buckets and users are called. A hash of
// a name would tell it to whoever can guess it, so names are numbered in each answer.

const REASON = 'shown to operators with the permission data'

const mayKnow = ({ may }: Operator, tenant: { name: string }): boolean => may('data', { tenant: tenant.name })

/** Returns a function that calls the same text by the same number. */
function numbered(): <T extends string | null>(text: T) => T | string {
  const numbers = new Map<string, string>()
  return (text) => {
    if (text === null) return text
    const before = numbers.get(text)
    if (before !== undefined) return before
    const number = `hidden ${numbers.size + 1}`
    numbers.set(text, number)
    return number
  }
}

/** Returns the status as this operator may see it. */
export function statusFor<Status extends ReplicatorStatus>(
  operator: Operator,
  tenant: { name: string },
  status: Status,
): Status {
  if (mayKnow(operator, tenant)) return status
  const hide = numbered()
  return {
    ...status,
    failingBuckets: status.failingBuckets.map((each) => ({ ...each, bucket: hide(each.bucket), error: REASON })),
    fencedBuckets: status.fencedBuckets.map((each) => ({ ...each, bucket: hide(each.bucket) })),
    skippedRows: {
      ...status.skippedRows,
      recent: status.skippedRows.recent.map((each) => ({ ...each, key: hide(each.key), reason: REASON })),
    },
    diagnostics: {
      ...status.diagnostics,
      recent: status.diagnostics.recent.map((each) =>
        each.key === null ? each : { ...each, key: hide(each.key), reason: REASON },
      ),
    },
  }
}

/** Returns the result of a comparison as this operator may see it. */
export function verificationFor(operator: Operator, tenant: { name: string }, answer: VerifyAnswer): VerifyAnswer {
  if (mayKnow(operator, tenant)) return answer
  const hide = numbered()
  return {
    ...answer,
    differences: answer.differences.map((each) => ({
      ...each,
      key: hide(each.key),
      bucket: hide(each.bucket),
      reason: REASON,
    })),
  }
}
