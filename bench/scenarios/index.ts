import type { Scenario } from '../scenario.ts'
import { client } from './client.ts'
import { compaction } from './compaction.ts'
import { copy } from './copy.ts'
import { cost } from './cost.ts'
import { deploy } from './deploy.ts'
import { fanOut } from './fan-out.ts'
import { firstSync } from './first-sync.ts'
import { idle } from './idle.ts'
import { largeTransaction } from './large-transaction.ts'
import { latency } from './latency.ts'
import { memory } from './memory.ts'
import { reconnect } from './reconnect.ts'
import { streamed } from './streamed.ts'
import { web } from './web.ts'
import { writeCheckpoint } from './write-checkpoint.ts'

export const SCENARIOS: readonly Scenario[] = [
  ...[copy, firstSync, latency, streamed, largeTransaction, fanOut, writeCheckpoint, reconnect],
  ...[idle, memory, deploy, compaction, client, cost, web],
]
