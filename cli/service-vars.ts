import { parseDocument } from 'yaml'
import { z } from 'zod'

/** A value `!env NAME`, which is known only where the service runs. */
class FromEnvironment {
  readonly variable: string

  constructor(variable: string) {
    this.variable = variable
  }
}

const ENVIRONMENT_TAG = { tag: '!env', resolve: (text: string) => new FromEnvironment(text) }

const text = z.union([z.string(), z.number(), z.instanceof(FromEnvironment)])
const texts = z
  .union([text.transform((one) => [one]), z.array(text)])
  .optional()
  .catch(undefined)
const whole = z
  .union([z.number().int(), z.instanceof(FromEnvironment)])
  .optional()
  .catch(undefined)
const isMap = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)
const map = <S extends z.ZodRawShape>(shape: S) => z.preprocess((value) => (isMap(value) ? value : {}), z.object(shape))

/** The parts of a PowerSync service's configuration that are used here. Anything of another form counts as missing. */
const SERVICE = map({
  client_auth: map({
    jwks_uri: texts,
    audience: texts,
    jwks: z.unknown().optional(),
    supabase: z.unknown().optional(),
    supabase_jwt_secret: z.unknown().optional(),
    block_local_jwks: z.unknown().optional(),
    jwks_reject_ip_ranges: texts,
  }),
  api: map({
    tokens: z.unknown().optional(),
    parameters: map({ max_buckets_per_connection: whole, max_parameter_query_results: whole }),
  }),
})

type Given = z.infer<typeof text>

/**
 * Returns `[vars]` for wrangler.toml with the parts of that configuration that are settings here. It contains no
 * secret; unknown values are comments.
 */
export function serviceVars(yaml: string): string {
  const document = parseDocument(yaml, { customTags: [ENVIRONMENT_TAG], logLevel: 'silent' })
  const { client_auth: auth, api } = SERVICE.parse(document.toJS() ?? {})
  const ranges =
    isOn(auth.block_local_jwks) && auth.jwks_reject_ip_ranges === undefined ? ['local'] : auth.jwks_reject_ip_ranges
  const isSymmetric = JSON.stringify(auth.jwks ?? null).includes('"k":')
  const lines = [
    '[vars]',
    ...setting('JWT_AUDIENCE', auth.audience, '# JWT_AUDIENCE = "…": the audience of your tokens, which must be given'),
    ...setting('JWKS_URL', auth.jwks_uri),
    ...setting('JWKS_REJECT_IP_RANGES', ranges),
    ...(isOn(auth.supabase) ? ['# SUPABASE_URL = "https://….supabase.co": the address of your project'] : []),
    ...(isOn(auth.jwks) && !isSymmetric
      ? ['# JWT_KEYS = \'{"keys": [ … ]}\': the keys of client_auth.jwks, as JSON']
      : []),
    ...setting('MAX_BUCKETS', list(api.parameters.max_buckets_per_connection)),
    ...setting('MAX_LOOKUP_ROWS', list(api.parameters.max_parameter_query_results)),
    ...(isOn(api.tokens)
      ? ['# OPERATOR_KEYS and OPERATOR_AUDIENCE: operators have tokens that are signed (docs/auth.md)']
      : []),
  ]
  const secrets = [
    'DATABASE_URL',
    ...(isOn(auth.jwks) && isSymmetric ? ['JWT_KEYS'] : []),
    ...(isOn(auth.supabase_jwt_secret) ? ['SUPABASE_JWT_SECRET'] : []),
  ]
  return [...lines, '', ...secrets.map((name) => `# npx wrangler secret put ${name}`)].join('\n')
}

/** Returns whether a value switches its setting off: an empty list, false, or nothing. */
const isOn = (value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  value !== false &&
  value !== '' &&
  !(Array.isArray(value) && value.length === 0)

const list = (value: Given | undefined): Given[] | undefined => (value === undefined ? undefined : [value])

/** Returns a line of TOML. `otherwise` is the line for a missing setting. */
function setting(name: string, values: readonly Given[] | undefined, otherwise?: string): string[] {
  if (values === undefined || values.length === 0) return otherwise === undefined ? [] : [otherwise]
  const variables = values.flatMap((value) => (value instanceof FromEnvironment ? [value.variable] : []))
  if (variables.length > 0)
    return [`# ${name} = "…": what ${variables.map((variable) => `$${variable}`).join(', ')} is there`]
  const [only] = values
  return [`${name} = ${values.length === 1 && typeof only === 'number' ? only : JSON.stringify(values.join(','))}`]
}
