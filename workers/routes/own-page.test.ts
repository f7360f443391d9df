import { expect, test } from 'vitest'
import { refuseForeignPages } from './own-page.ts'

const OURS = { 'x-rockpool-admin': '1', 'content-type': 'application/json' }
const asked =
  (headers: Record<string, string>, method = 'PATCH') =>
  () =>
    refuseForeignPages(new Request('https://sync.example/admin/tenants/acme', { method, headers }))

test('a command of ours, and a page of the deployment itself, may change something', () => {
  expect(asked(OURS)).not.toThrow()
  expect(asked({ ...OURS, 'content-type': 'Application/JSON; charset=utf-8' })).not.toThrow()
  expect(asked({ ...OURS, 'content-type': 'application/yaml' })).not.toThrow()
  // Node has a list of headers that a Request may not set; browsers alone set these.
  const page = new Headers({ ...OURS, origin: 'https://sync.example', 'sec-fetch-site': 'same-origin' })
  expect(() =>
    refuseForeignPages({ method: 'PATCH', url: 'https://sync.example/admin/tenants/acme', headers: page }),
  ).not.toThrow()
})

test.each<[string, Record<string, string>, number]>([
  ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 403],
  ['fetch without CORS', { 'content-type': 'text/plain' }, 403],
  ['no header of ours', { 'content-type': 'application/json' }, 403],
  ['another origin', { ...OURS, origin: 'https://evil.example' }, 403],
  ['an origin that is hidden', { ...OURS, origin: 'null' }, 403],
  ['another site', { ...OURS, 'sec-fetch-site': 'cross-site' }, 403],
  ['another host of the same site', { ...OURS, 'sec-fetch-site': 'same-site' }, 403],
  ['another type', { ...OURS, 'content-type': 'text/plain' }, 415],
  ['no type', { 'x-rockpool-admin': '1' }, 415],
])('%s may not', (_, given, status) => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const request = { method, url: 'https://sync.example/admin/tenants/acme', headers: new Headers(given) }
    expect(() => refuseForeignPages(request)).toThrow(expect.objectContaining({ status }))
  }
  expect(asked({}, 'GET')).not.toThrow()
})

test('a page of another origin may not even ask: an image, a frame, a link or a socket', () => {
  const get = (headers: Record<string, string>) => () =>
    refuseForeignPages({ method: 'GET', url: 'https://sync.example/admin/status', headers: new Headers(headers) })
  expect(get({ 'sec-fetch-site': 'none' })).not.toThrow()
  expect(get({ 'sec-fetch-site': 'same-origin' })).not.toThrow()
  for (const foreign of [
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'anything' },
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'same-origin', origin: 'https://evil.example' },
  ] as Record<string, string>[])
    expect(get(foreign)).toThrow(expect.objectContaining({ code: 'ROCKPOOL_OPERATOR', status: 403 }))
})
