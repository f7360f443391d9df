import { expect, test } from 'vitest'
import { compile } from '../../../sync-config/index.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Configs } from '../store/configs.ts'
import { Definitions } from '../store/definitions.ts'
import { Deploys } from './deploys.ts'
import { Plans } from '../store/plans.ts'
import { MIGRATIONS, StateStore } from '../store/storage.ts'

test('plans of sync configs that the history has forgotten are deleted, also when no deploy has dropped a definition', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  let serving: string | null = null
  const sources = {
    state: new StateStore(db),
    plans: new Plans(db),
    configs: new Configs(db),
    definitions: new Definitions(db),
  }
  const deploys = new Deploys({
    atomically: (work) => work(),
    ...sources,
    serving: () => serving,
    served: () => serving,
    copy: () => {},
  })
  const stored = () => db.all('SELECT hash FROM plans').map(({ hash }) => String(hash))
  for (let n = 0; n < 45; n++) {
    // The same rows under another name: nothing is copied, and nothing is dropped.
    const yaml = `bucket_definitions:\n  named_${n}:\n    data:\n      - SELECT id FROM docs\n`
    const compiled = compile(yaml)
    if (!compiled.ok) throw new Error('it is not compiled')
    const config = deploys.add(yaml, compiled.plan, 'admin')
    deploys.begin(0, n)
    serving = config.plan
    if (serving !== null) deploys.switched(serving)
  }
  deploys.begin(0, 45)
  const { all } = sources.configs
  expect(all.length).toBeLessThan(45)
  const kept = new Set(all.flatMap(({ plan }) => plan ?? []))
  expect(new Set(stored())).toEqual(kept)
})
