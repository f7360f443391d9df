import type { Status } from '@rockpool/client'

const STATES: Record<Status['state'], string> = {
  offline: 'Offline',
  connecting: 'Connecting …',
  syncing: 'Syncing …',
  live: 'In step',
  'needs-auth': 'Signed out',
  error: 'Trying again …',
  closed: 'Signed out',
}

export interface Words {
  headline: string
  /** Which colour it has. */
  look: Status['state']
  /** What somebody has to do something about. */
  problem: string | null
}

/** The status as its user reads it. */
export function words(status: Status): Words {
  const { look, says, problem } = spoken(status)
  const waiting = status.pendingWrites + status.unconfirmedWrites
  const changes = waiting === 0 ? '' : ` · ${waiting} ${waiting === 1 ? 'change' : 'changes'} to send`
  return { headline: `${says}${changes}${status.storage === 'memory' ? ' · in memory only' : ''}`, look, problem }
}

function spoken(status: Status): { look: Status['state']; says: string; problem: string | null } {
  const { state, upload } = status
  if (state === 'needs-auth') {
    const { code, message } = status.error
    // Who is signed in and whose token the server refuses can do nothing by signing in.
    const isRefused = code === 'auth' || code.startsWith('PSYNC_S21')
    if (isRefused) return { look: state, says: 'Token refused', problem: `The token is refused: ${message}` }
    return { look: state, says: STATES[state], problem: `Signed out: ${message}` }
  }
  if (state === 'error') {
    // Without a network nothing is wrong: that is what the local database is for.
    if (status.error.code === 'network') return { look: 'offline', says: STATES.offline, problem: null }
    return { look: state, says: STATES[state], problem: `Not in step: ${status.error.message}` }
  }
  if (state === 'live' && upload)
    return { look: 'error', says: 'Cannot send', problem: `Not sent yet, tried again: ${upload.error.message}` }
  return { look: state, says: STATES[state], problem: null }
}
