import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take more than a minute (2026-11-29, two cores), the longest first. */
const LONG = [
  'test/simulation/rules.test.ts',
  'test/simulation/simulation.test.ts',
  'test/e2e/dev-processes.pg.test.ts',
  'test/e2e/faults.sdk.test.ts',
  'test/e2e/deploy-steps.sdk.test.ts',
  'test/attacks/import-of-many-users.sdk.test.ts',
  'bench/bench.sdk.test.ts',
  'test/e2e/budget.sdk.test.ts',
  'test/e2e/slot.sdk.test.ts',
  'test/e2e/crash-loop.sdk.test.ts',
  'test/e2e/bank.sdk.test.ts',
]

/**
 * Long files begin first, so that none of them is left alone at the end. Where nothing is known of earlier runs, vitest
 * goes by size.
 */
export class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification): number => {
      const place = LONG.findIndex((name) => file.moduleId.endsWith(`/${name}`))
      return place === -1 ? LONG.length : place
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}
