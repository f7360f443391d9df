import { z } from 'zod'
import { ADMIN_HEADER } from '../own-page.ts'
import { errorShape } from '../tenants/shapes.ts'
import { NEEDS, type Need } from '../needs.ts'
import { OPERATIONS, type Operation } from './operations.ts'

type Json = Record<string, unknown>

/** Returns the OpenAPI 3.1 document of the admin API. */
export function openApi(): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const operation of OPERATIONS) (paths[operation.path] ??= {})[operation.method] = described(operation)
  return {
    openapi: '3.1.0',
    info: {
      title: 'Rockpool: the admin API',
      version: '1',
      description:
        'Routes of a tenant are below its address: a host of its own, or /t/NAME. See docs/tenants.md and docs/operations.md.',
    },
    paths,
    components: {
      securitySchemes: {
        operator: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'docs/auth.md, operators' },
      },
      schemas: { Error: schema(errorShape, 'output') },
    },
    security: [{ operator: [] }],
  }
}

const OF: Readonly<Record<Need['of'], string>> = {
  named: 'for the tenant in the path',
  addressed: 'for the tenant of the address',
  all: 'for all tenants',
  any: 'for at least one tenant',
}

function described({ method, path, of, summary, query, headers, body, yaml, answer, statuses }: Operation): Json {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  const admin = { name: ADMIN_HEADER, in: 'header', required: true, schema: { const: '1' } }
  const well = Object.fromEntries(
    statuses.map((status) => [String(status), answered('Done', z.object({ data: answer }))]),
  )
  const need = NEEDS[`${method.toUpperCase()} ${path}`]
  return {
    tags: [of],
    summary,
    ...(need && {
      description: `Needs the permission \`${need.permission}\` ${OF[need.of]}.`,
      'x-rockpool-permission': need.permission,
    }),
    parameters: [
      ...names,
      ...parameters(query, 'query'),
      ...parameters(headers, 'header'),
      ...(method === 'get' ? [] : [admin]),
    ],
    ...(body && {
      requestBody: { required: true, content: { 'application/json': { schema: schema(body, 'input') } } },
    }),
    ...(yaml && { requestBody: { required: true, content: { 'application/yaml': { schema: { type: 'string' } } } } }),
    responses: {
      ...well,
      default: {
        description: 'Refused',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  }
}

const answered = (description: string, type: z.ZodType): Json => ({
  description,
  content: { 'application/json': { schema: schema(type, 'output') } },
})

function parameters(type: z.ZodObject | undefined, where: 'query' | 'header'): Json[] {
  if (type === undefined) return []
  const { properties = {}, required = [] } = schema(type, 'input') as {
    properties?: Record<string, Json>
    required?: string[]
  }
  return Object.entries(properties).map(([name, each]) => ({
    name,
    in: where,
    required: required.includes(name),
    schema: each,
  }))
}

/** The dialect is said once, by the version of OpenAPI. */
function schema(type: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(type, { io, unrepresentable: 'any' })
  return rest
}
