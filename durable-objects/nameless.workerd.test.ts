import { env } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { MESSAGE_VERSION as v } from '../protocol/versions.ts'

// An id that was not made from a name stands for a runtime that lost it. vitest.config.ts says that the error of the
// constructor is expected.
const REFUSED = 'the runtime did not give this object its name'

test('an object that does not know its name answers nothing, least of all that something is empty', async () => {
  const bucket = env.BUCKET.get(env.BUCKET.newUniqueId())
  await expect(bucket.state({ v, checkpoint: 1 })).rejects.toThrow(REFUSED)
  const relay = env.RELAY.get(env.RELAY.newUniqueId())
  await expect(relay.fetch('https://relay/stream', { headers: { upgrade: 'websocket' } })).rejects.toThrow(REFUSED)
  const replicator = env.REPLICATOR.get(env.REPLICATOR.newUniqueId())
  await expect(replicator.committed({ v })).rejects.toThrow(REFUSED)
})
