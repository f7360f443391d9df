/** A query parameter that is there, without a value or with one that says yes. */
export const flag = (value: string | undefined): boolean => value !== undefined && !/^(0|false|no)$/i.test(value)
