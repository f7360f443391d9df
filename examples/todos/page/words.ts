import type { DatabaseStatus } from '@rockpool/client'

const STATES: Record<DatabaseStatus['state'], string> = {
  opening: 'Opening …',
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
  look: DatabaseStatus['state']
  /** Problems that somebody must solve. */
  problems: string[]
}

/** Describes the status for the user. */
export function words(status: DatabaseStatus): Words {
  const { look, says, problem } = spoken(status)
  const waiting = status.upload.pending + status.upload.unconfirmed
  const changes = waiting === 0 ? '' : ` · ${waiting} ${waiting === 1 ? 'change' : 'changes'} to send`
  const headline = `${says}${changes}${status.storage.kind === 'memory' ? ' · in memory only' : ''}`
  return { headline, look, problems: [problem, storageProblem(status.storage)].filter((each) => each !== null) }
}

interface Spoken {
  look: DatabaseStatus['state']
  says: string
  problem: string | null
}

function spoken(status: DatabaseStatus): Spoken {
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
  if (state === 'live' && (upload.state === 'waiting' || upload.state === 'blocked'))
    return { look: 'error', says: 'Cannot send', problem: `Not sent yet, trying again: ${upload.error.message}` }
  return { look: state, says: STATES[state], problem: null }
}

function storageProblem(storage: DatabaseStatus['storage']): string | null {
  if (storage.state === 'full') return 'There is no space left on this device. What is stored is safe.'
  if (storage.state === 'blocked') return `The database cannot be opened yet: ${storage.reason}`
  return storage.state === 'corrupt' ? `The database is damaged: ${storage.reason}` : null
}
