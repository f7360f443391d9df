import { censusLook, type CensusCalls } from '../../protocol/messages/census.ts'
import type { Environment } from '../environment.ts'
import { censusStub, type Placed } from '../shared/namespaces.ts'
import { answered } from '../shared/retry.ts'

/**
 * Returns the calls of a tenant's Census, each with a deadline in ms; or null in a script without the class. They
 * reject when they are not answered in time, or not well.
 */
export function censusOf(env: Environment, tenant: Placed, deadlineMs: number): CensusCalls | null {
  if (env.CENSUS === undefined) return null
  const stub = censusStub(env.CENSUS, tenant)
  const call = (name: keyof CensusCalls, body: object = {}): Promise<unknown> =>
    answered(async () => {
      const response = await stub.fetch(`https://census/${name}`, { method: 'POST', body: JSON.stringify(body) })
      const text = await response.text()
      if (!response.ok) throw new Error(`the census answered ${response.status}`)
      return (JSON.parse(text) as { data: unknown }).data
    }, deadlineMs)
  return {
    look: async () => censusLook.parse(await call('look')),
    keep: async (clients) => void (await call('keep', clients)),
    report: async (report) => void (await call('report', report)),
    erase: async () => void (await call('erase')),
  }
}
