import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { Environment } from '../../environment.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import { relayStub, type Placed } from '../../shared/namespaces.ts'
import { closeQuietly } from '../../shared/sockets.ts'
import { answered, callDeadline } from '../../shared/retry.ts'
import type { RelayConnection, RelayLink } from './relay-link.ts'

/**
 * Makes one attempt to open a socket. Returns null when the relay has no streams and refuses it. `revision`: of the
 * newest revocation.
 */
export async function connectRelay(
  env: Environment,
  tenant: Placed,
  relay: string,
  { serial, revision }: { serial: number; revision: number },
): Promise<RelayConnection | null> {
  await asyncFaultPoint('open.begin')
  const url = `https://relay/replicator?serial=${serial}&revision=${revision}`
  const response = await relayStub(env, tenant, relay).fetch(url, { headers: { upgrade: 'websocket' } })
  const socket = response.webSocket
  if (!socket) {
    await response.body?.cancel()
    if (response.status !== 410) throw new Error(`relay ${relay} answered ${response.status}`)
    return null
  }
  await asyncFaultPoint('open.answered')
  socket.accept()
  const { headers } = response
  const has = headers.get('rockpool-checkpoint')
  return {
    link: linkOf(socket),
    checkpoint: has ? Number(has) : null,
    hashed: headers.get('rockpool-names') !== 'name',
    fences: headers.get('rockpool-fences') === '1',
  }
}

function linkOf(socket: WebSocket): RelayLink {
  return {
    listen(message, fallen) {
      socket.addEventListener('message', (event) => message(event.data))
      socket.addEventListener('close', fallen)
      socket.addEventListener('error', fallen)
    },
    send: (text) => socket.send(text),
    close(failure = false) {
      if (failure) socket.close(1011, 'a fault')
      else closeQuietly(socket)
    },
  }
}

/** Returns the number of open client streams at these relays. A relay that does not answer counts as 0. */
export async function openStreams(
  env: Environment,
  tenant: Placed,
  relays: readonly string[],
  deadlineMs = callDeadline(env),
): Promise<number> {
  const counts = await Promise.allSettled(
    relays.map((relay) => answered(() => relayStub(env, tenant, relay).streams({ v: MESSAGE_VERSION }), deadlineMs)),
  )
  return counts.reduce((sum, count) => sum + (count.status === 'fulfilled' ? count.value : 0), 0)
}
