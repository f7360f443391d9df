import type { Spans } from '../../sources/postgres/copy/table-reader.ts'
import { postgresKind, type PostgresKindOptions } from '../../sources/postgres/postgres-source.ts'
import type { ReadBudget } from '../../sources/source.ts'
import { NodeReplica } from './node-replica.ts'

export interface PostgresReplicaOptions {
  url: string
  slot: string
  syncConfig: string
  chunk: ReadBudget & Spans
  /** Waits until what was delivered earlier is visible; another one shows what happens without it. */
  barrier?: NonNullable<PostgresKindOptions['barrier']>
}

const SETTINGS = { ownPublication: 'rockpool', publicationColumns: 'all', walPolicy: 'keep', walKeepGb: 10 } as const

export function postgresReplica({ url, slot, syncConfig, chunk, barrier }: PostgresReplicaOptions): NodeReplica {
  const kind = postgresKind({ spans: chunk, ...(barrier && { barrier }) })
  const settings = { ...SETTINGS, slot }
  return new NodeReplica({
    kind,
    connect: (identity) => kind.connect({ url, settings, clientName: 'rockpool-test', identity }),
    syncConfig,
    budget: chunk,
  })
}
