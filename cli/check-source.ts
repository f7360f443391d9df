import { checkServer, connectSource } from '../postgres/index.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { sourceError } from '../postgres/index.ts'
import { UsageError } from './problem.ts'

/** What would stop the replicator is said before anything is started. Throws UsageError. */
export async function checkSource(url: string): Promise<void> {
  const sql = connectSource(url)
  try {
    await checkServer(sql)
  } catch (error) {
    const { message } = error instanceof RockpoolError ? error : sourceError(error)
    throw new UsageError(`the database cannot be used: ${message.replace(/:[^:@/]*@/g, ':…@')}`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
