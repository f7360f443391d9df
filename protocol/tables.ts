/** `name` may end in the wildcard `%` where it is asked for. */
export interface TableName {
  schema: string
  name: string
}

/** `schema.name`, for people alone: either may hold a dot, so this is neither cut apart nor compared. */
export const tableText = ({ schema, name }: TableName): string => `${schema}.${name}`

/** Equal for equal names alone, for maps. */
export const tableKey = ({ schema, name }: TableName): string => JSON.stringify([schema, name])
