import { DirectFollower } from '../support/direct-follower.ts'
import type { BankClient, ClientSetting } from './clients.ts'
import { bankRow, shownOf } from './shown.ts'

/** A direct stream of the one bucket that the token gives. */
export async function directClient({ url, token, shows }: ClientSetting): Promise<BankClient> {
  const view = () =>
    shownOf(
      [...follower.buckets.values()].flatMap(({ rows }) =>
        [...rows.values()].map((data) => bankRow(JSON.parse(data) as Record<string, unknown>)),
      ),
    )
  const follower = new DirectFollower({ url, token, at: () => shows(view()) })
  return {
    disconnect: () => follower.disconnect(),
    connect: () => follower.connect(),
    close: () => follower.close(),
    shown: async () => view(),
    state: () => follower.state,
    problems: follower.problems,
  }
}
