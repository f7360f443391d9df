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
  /** The state that decides its colour. */
  look: Status['state']
  /** A problem that somebody must solve, or null. */
  problem: string | null
}

/** Describes the status for the user. */
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
    // When the server refuses the token, signing in again does not help.
    const isRefused = code === 'auth' || code.startsWith('PSYNC_S21')
    if (isRefused) return { look: state, says: 'Token refused', problem: `The token is refused: ${message}` }
    return { look: state, says: STATES[state], problem: `Signed out: ${message}` }
  }
  if (state === 'error') {
    // Being offline is not a problem, because there is a local database.
    if (status.error.code === 'network') return { look: 'offline', says: STATES.offline, problem: null }
    return { look: state, says: STATES[state], problem: `Not in sync: ${status.error.message}` }
  }
  if (state === 'live' && upload)
    return { look: 'error', says: 'Cannot send', problem: `Not sent yet, trying again: ${upload.error.message}` }
  return { look: state, says: STATES[state], problem: null }
}
