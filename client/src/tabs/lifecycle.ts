// What a page does when it is hidden, frozen, kept for the back button, or seen again.

export type PageEvent = 'hidden' | 'visible' | 'freeze' | 'resume' | 'pagehide' | 'pageshow' | 'online'

/**
 * `suspend`: lets go of the database, because this page may not run any more, and whoever owns it must. `resume`: comes
 * back. `send`: what is unsent goes now, while there is somebody to send it. `wake`: the connection may be dead.
 */
export type Action = 'suspend' | 'resume' | 'send' | 'wake'

/**
 * Only WebKit suspends pages that are merely hidden. Elsewhere a hidden owner stays the owner: a hand-over costs a
 * connection, all positions and all live queries.
 */
export function actionsOf(event: PageEvent, page: { isSuspended: boolean; suspendsHidden: boolean }): Action[] {
  switch (event) {
    case 'hidden':
      return page.suspendsHidden && !page.isSuspended ? ['send', 'suspend'] : ['send']
    case 'freeze':
    case 'pagehide':
      return page.isSuspended ? [] : ['send', 'suspend']
    case 'visible':
    case 'resume':
    case 'pageshow':
      return page.isSuspended ? ['resume'] : ['wake']
    case 'online':
      return page.isSuspended ? [] : ['wake']
  }
}

/** Safari and every browser of iOS say it like this. */
export const suspendsHidden = (vendor: string): boolean => vendor.startsWith('Apple')
