import { largeTransaction, largeValues, manyNewBuckets } from './changes.ts'
import { downloads, relay, relays } from './clients.ts'
import { largeArrays, largeLookup } from './rows.ts'
import type { Scenario } from './scenario.ts'

export const SCENARIOS: readonly Scenario[] = [
  ...[largeTransaction, manyNewBuckets, largeValues, largeArrays, largeLookup],
  ...[relay, relays, downloads],
]
