import { Hono } from 'hono'
import { RockpoolError } from '../../../protocol/errors.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { MAX_CONFIG_BYTES } from '../../../sync-config/limits.ts'
import { askReplicator } from '../../replicator.ts'
import { flag } from './flag.ts'
import { logged, type OperatorContext } from './operator.ts'

/** `/admin/sync-config`: the serving sync config, and deploys of others. */
export const syncConfig = new Hono<OperatorContext>()

syncConfig.get('/', async (c) =>
  c.json({
    data: await askReplicator(c.env, c.var.tenant, (replicator) => replicator.configs({ v: MESSAGE_VERSION })),
  }),
)

/**
 * The body is the YAML text. `?dry_run=1` only reports what would change. `?force=1` accepts tables that cannot be
 * followed. `If-Match` is the hash of the serving plan.
 */
syncConfig.put('/', async (c) => {
  const dryRun = flag(c.req.query('dry_run'))
  const yaml = await textOf(c.req.raw)
  const ifMatch = c.req.header('if-match')?.replace(/^(?:W\/)?"(.*)"$/, '$1') ?? null
  const answer = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.deploy({
      v: MESSAGE_VERSION,
      yaml,
      dryRun,
      force: flag(c.req.query('force')),
      ifMatch,
      by: c.var.operator.by,
    }),
  )
  if (!dryRun) logged(c, 'deploy', { number: answer.config?.number ?? null, plan: answer.difference.plan })
  return c.json({ data: answer }, dryRun ? 200 : 202)
})

/** Marks a sync config so that it never serves again, because it showed clients what they must not see. */
syncConfig.post('/:number{[1-9][0-9]{0,8}}/withdraw', async (c) => {
  const number = Number(c.req.param('number'))
  const by = c.var.operator.by
  const answer = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.withdraw({ v: MESSAGE_VERSION, number, by }),
  )
  logged(c, 'withdraw', { number })
  return c.json({ data: answer })
})

/** Reads the body in pieces, so that an endless one does not fill memory. Throws PSYNC_S2001. */
async function textOf(request: Request): Promise<string> {
  const tooLarge = new RockpoolError('PSYNC_S2001', `a sync config has ${MAX_CONFIG_BYTES} bytes at most`, {
    status: 413,
  })
  if (Number(request.headers.get('content-length') ?? 0) > MAX_CONFIG_BYTES) throw tooLarge
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of request.body ?? []) {
    bytes += piece.byteLength
    if (bytes > MAX_CONFIG_BYTES) throw tooLarge
    pieces.push(piece)
  }
  if (bytes === 0) throw new RockpoolError('PSYNC_S2001', 'the body must be the text of the sync config')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(Buffer.concat(pieces))
  } catch {
    throw new RockpoolError('PSYNC_S2001', 'the body is not UTF-8')
  }
}
