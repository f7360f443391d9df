import { jsonText } from '../expressions/json.ts'
import type { RequestValues } from '../expressions/environment.ts'
import { bool, type Value } from '../expressions/values.ts'
import type { RequestContext } from '../types.ts'

const memberOf = (object: unknown, name: string): unknown =>
  typeof object === 'object' && object !== null && Object.hasOwn(object, name) ? Reflect.get(object, name) : undefined

/** Text view: numbers are REAL; nested values JSON text. */
function textView(value: unknown): Value {
  switch (typeof value) {
    case 'string':
    case 'number':
      return value
    case 'boolean':
      return bool(value)
    default:
      return value === null || value === undefined ? null : jsonText(value)
  }
}

/** Value view: whole numbers INTEGER; nested values JSON text with booleans as 1/0. */
function valueView(value: unknown): Value {
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value)
  if (typeof value === 'object' && value !== null) return jsonText(value, { booleansAsNumbers: true })
  return textView(value)
}

/** Returns the request values for the default evaluation, which has no subscription. */
export function requestValues(context: RequestContext): RequestValues {
  const token = memberOf(context.claims, 'parameters')
  return {
    sub: textView(memberOf(context.claims, 'sub')),
    tokenSub: valueView(memberOf(context.claims, 'sub')),
    jwt: jsonText(context.claims),
    connection: jsonText(context.parameters),
    subscription: null,
    member: (of, name) => valueView(memberOf(of === 'token' ? token : context.parameters, name)),
  }
}

/** Returns the request values for a subscription with its own parameters. */
export const subscriptionValues = (request: RequestValues, parameters: Record<string, unknown>): RequestValues => ({
  ...request,
  subscription: jsonText(parameters),
})
