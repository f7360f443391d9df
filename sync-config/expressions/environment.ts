import type { Value } from './values.ts'

/** An element of an array or object. */
export interface Element {
  key: Value
  value: Value
}

/** The values of a request, computed once for each stream subscription. */
export interface RequestValues {
  sub: Value
  tokenSub: Value
  /** JSON text in which every number is a REAL, or null when there is none. */
  jwt: Value
  connection: Value
  subscription: Value
  member(of: 'connection' | 'token', name: string): Value
}

/** What an expression can read. The row side has a row, the request side a request, and both may have elements. */
export interface Environment {
  row: Readonly<Record<string, Value>>
  schema: string
  table: string
  suffix: string
  elements: Element[]
  outputs: (readonly Value[])[]
  request: RequestValues
  /** The cache for a request; absent for a row. */
  memo?: Memo
}

export interface Memo {
  get<T>(key: string, own: boolean, make: () => T): T
}

const nothing: RequestValues = {
  sub: null,
  tokenSub: null,
  jwt: null,
  connection: null,
  subscription: null,
  member: () => null,
}

export const rowEnvironment = (schema: string, table: string, row: Readonly<Record<string, Value>>): Environment => ({
  row,
  schema,
  table,
  suffix: '',
  elements: [],
  outputs: [],
  request: nothing,
})

export const requestEnvironment = (request: RequestValues, memo: Memo): Environment => ({
  row: {},
  schema: '',
  table: '',
  suffix: '',
  elements: [],
  outputs: [],
  request,
  memo,
})
