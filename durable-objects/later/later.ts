import { DurableObject } from 'cloudflare:workers'
import { RockpoolError } from '../../protocol/errors.ts'

// Classes of later versions. They are declared now because the platform refuses a rollback across a change of classes
// (Cloudflare docs, "Rollbacks", 2026-11): with all of them in one change, only one version cannot be rolled back over.

/** An object that has no code yet. It stores nothing, and answers every request with ROCKPOOL_NOT_YET. */
class Later extends DurableObject {
  override async fetch(): Promise<Response> {
    const error = new RockpoolError('ROCKPOOL_NOT_YET', 'this object is not in this version')
    return Response.json(error.body(), { status: error.status })
  }
}

/** Uploads of a tenant. */
export class Writer extends Later {}
/** Numbers of a deployment. */
export class Metrics extends Later {}
