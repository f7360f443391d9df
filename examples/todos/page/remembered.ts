/** Remembers a choice of each user, also across reloads. */
export function remembered(what: string): {
  has(user: string): boolean
  set(user: string): void
  clear(user: string): void
} {
  const key = (user: string): string => `todos-${user}-${what}`
  return {
    has: (user: string): boolean => localStorage.getItem(key(user)) !== null,
    set: (user: string): void => localStorage.setItem(key(user), 'yes'),
    clear: (user: string): void => localStorage.removeItem(key(user)),
  }
}
