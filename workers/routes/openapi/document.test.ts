import { expect, test } from 'vitest'
import { openApi } from './document.ts'
import { OPERATIONS } from './operations.ts'

interface Described {
  parameters: { name: string; in: string; required: boolean; schema: object }[]
  requestBody?: { content: Record<string, { schema: object }> }
  responses: Record<string, { content: Record<string, { schema: object }> }>
}
const document = openApi() as unknown as {
  openapi: string
  paths: Record<string, Record<string, Described>>
  components: object
}
const at = (method: string, path: string): Described => {
  const operation = document.paths[path]?.[method]
  if (!operation) throw new Error(`there is no ${method} ${path}`)
  return operation
}

test('the document has every operation once, and is plain JSON', () => {
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  )
  expect(all.sort()).toEqual(OPERATIONS.map(({ method, path }) => `${method} ${path}`).sort())
  expect(document.openapi).toBe('3.1.0')
  expect(JSON.parse(JSON.stringify(document))).toEqual(document)
  expect(JSON.stringify(document)).not.toContain('$schema')
})

test('bodies, parameters and answers are those that are validated', () => {
  const made = at('put', '/admin/tenants/{name}')
  expect(made.parameters).toEqual([
    { name: 'name', in: 'path', required: true, schema: { type: 'string' } },
    { name: 'reuse_name', in: 'query', required: false, schema: expect.objectContaining({ type: 'string' }) },
    { name: 'If-None-Match', in: 'header', required: true, schema: { type: 'string', const: '*' } },
    { name: 'x-rockpool-admin', in: 'header', required: true, schema: { const: '1' } },
  ])
  const body = made.requestBody?.content['application/json']?.schema
  expect(body).toMatchObject({ additionalProperties: false, properties: { hosts: { type: 'array', maxItems: 20 } } })
  expect(JSON.stringify(body)).toContain('"weur"')
  const answer = JSON.stringify(made.responses['201'])
  expect(answer).toContain('"sourceVersion"')
  expect(at('get', '/admin/tenants').parameters.map(({ name }) => name)).toEqual(['after', 'limit'])
  expect(Object.keys(at('put', '/admin/sync-config').requestBody?.content ?? {})).toEqual(['application/yaml'])
  expect(made.responses.default).toMatchObject({
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  })
})
