import type { Environment } from './environment.ts'

declare global {
  namespace Cloudflare {
    /** What `env` of `cloudflare:test` holds. */
    // eslint-disable-next-line @typescript-eslint/no-empty-object-type
    interface Env extends Environment {}
  }
}
