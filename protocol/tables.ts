/** `name` may end in the wildcard `%` in a sync config. */
export interface TableName {
  schema: string
  name: string
}

/**
 * Returns `schema.name`, only for people to read: either part may contain a dot, so it must not be split or compared.
 */
export const tableText = ({ schema, name }: TableName): string => `${schema}.${name}`

/** Returns a key for maps, which is equal only for equal names. */
export const tableKey = ({ schema, name }: TableName): string => JSON.stringify([schema, name])
