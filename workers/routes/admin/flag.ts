/** Returns whether a query parameter is present, without a value or with one that means yes. */
export const flag = (value: string | undefined): boolean => value !== undefined && !/^(0|false|no)$/i.test(value)
