import { DurableObject } from 'cloudflare:workers'
import { RockpoolError } from '../../protocol/errors.ts'
import type { ReplicatorRpc, ReplicatorStatus, Versioned } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Environment } from '../environment.ts'

/** The class and its RPC; what stands behind it follows. */
export class Replicator extends DurableObject<Environment> implements ReplicatorRpc {
  async attach(_request: Versioned & { relay: string }): Promise<void> {
    throw unfinished()
  }
  async committed(_request: Versioned): Promise<{ checkpoint: OpId; plan: string | null }> {
    throw unfinished()
  }
  async plan(_request: Versioned & { hash: string }): Promise<string | null> {
    throw unfinished()
  }
  async writeCheckpoint(_request: Versioned & { user: string; clientId: string }): Promise<{ writeCheckpoint: string }> {
    throw unfinished()
  }
  async status(_request: Versioned): Promise<ReplicatorStatus> {
    throw unfinished()
  }
  async wake(_request: Versioned): Promise<void> {
    throw unfinished()
  }
}

const unfinished = () => new RockpoolError('ROCKPOOL_INTERNAL', 'the replicator is not there yet')
