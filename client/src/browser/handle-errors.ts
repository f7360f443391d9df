let last: string | null = null

/** Returns the name of the error of the last call of a file handle, or null when that succeeded. */
export const lastHandleError = (): string | null => last

/**
 * Makes file handles remember their last error. SQLite has one code for all failures of files, but a full disk is a
 * problem that the user can solve.
 */
export function rememberHandleErrors(): void {
  if (typeof FileSystemSyncAccessHandle === 'undefined') return
  const methods = FileSystemSyncAccessHandle.prototype
  for (const name of ['write', 'truncate', 'flush'] as const) {
    const original: (...parameters: never[]) => unknown = methods[name]
    Object.defineProperty(methods, name, {
      configurable: true,
      writable: true,
      value(this: FileSystemSyncAccessHandle, ...parameters: never[]): unknown {
        try {
          const result = original.apply(this, parameters)
          last = null
          return result
        } catch (error) {
          last = error instanceof Error ? error.name : String(error)
          throw error
        }
      },
    })
  }
}
