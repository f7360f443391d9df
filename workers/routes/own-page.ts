import { RockpoolError } from '../../protocol/errors.ts'

/**
 * Set by every client of ours. A page of another origin cannot set it without asking first, and it is told no: there is
 * no CORS under /admin.
 */
export const ADMIN_HEADER = 'x-rockpool-admin'

/** What the body of a request may be, as it says itself. A form of a page can say neither. */
const TYPES: readonly (string | undefined)[] = ['application/json', 'application/yaml']

/**
 * Throws ROCKPOOL_OPERATOR (403) for a request that a page of another origin may have made, and PSYNC_S2004 (415) for
 * one that changes something and is neither JSON nor YAML. A browser sends cookies (Cloudflare Access's are
 * SameSite=None) along with forms, images and links of any page, so the credential alone says nothing about who asks.
 */
export function refuseForeignPages({ method, url, headers }: Pick<Request, 'method' | 'url' | 'headers'>): void {
  const isRead = method === 'GET' || method === 'HEAD'
  const site = headers.get('sec-fetch-site') ?? 'same-origin'
  const origin = headers.get('origin')
  // `none` is an address that somebody has typed.
  const isOwn = site === 'same-origin' || (isRead && site === 'none')
  if (!isOwn || (origin !== null && origin !== new URL(url).origin))
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'this is for no page of another origin')
  if (isRead) return
  if (headers.get(ADMIN_HEADER) !== '1')
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'the header X-Rockpool-Admin: 1 is missing')
  const type = headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (!TYPES.includes(type))
    throw new RockpoolError('PSYNC_S2004', 'the body must be application/json or application/yaml')
}
