import { Hono } from 'hono'
import { clients } from './clients.ts'
import { revoking } from '../tenants/revoke.ts'
import { openApi } from '../openapi/document.ts'
import { operator, type OperatorContext } from './operator.ts'
import { rollback } from './rollback.ts'
import { status } from './status.ts'
import { syncConfig } from './sync-config.ts'
import { verify } from './verify.ts'

/** `/admin`: the routes of operators. */
export const admin = new Hono<OperatorContext>()

admin.use(operator)
admin.route('/sync-config', syncConfig)
admin.route('/rollback', rollback)
admin.route('/clients', clients)
admin.route('/status', status)
admin.route('/verify', verify)
admin.route(
  '/',
  revoking<OperatorContext>((c) => c.var.tenant.name),
)
admin.get('/openapi.json', (c) => c.json(openApi()))
