import type { Sql, TransactionSql } from 'postgres'

export type UploadOp =
  | { op: 'put' | 'patch'; table: string; id: string; data: Record<string, unknown>; old?: Record<string, unknown> }
  | { op: 'delete'; table: string; id: string; old?: Record<string, unknown> }

export declare class Rejected extends Error {
  readonly code: string
  constructor(code: string, message: string, more?: { field?: string; current?: unknown })
}

export type Verdict =
  | { id: string; result: 'accepted' }
  | { id: string; result: 'rejected'; code: string; message: string; field?: string; current?: unknown }
  | { id: string; result: 'retry'; code: string; after: number }
  | { id: string; result: 'client_reset' }

export interface UploadAnswer {
  status: 200 | 400
  body: { verdicts: Verdict[]; reopen: string[] } | { error: { code: string; message: string } }
}

export declare function answerUpload(
  sql: Sql,
  user: string,
  request: unknown,
  apply: (tx: TransactionSql, op: UploadOp) => Promise<void>,
): Promise<UploadAnswer>
