let last: string | null = null

/** Name of what the last call of a file handle threw; null when it went well. */
export const lastHandleError = (): string | null => last

/** SQLite has one code for all that a file can do wrong, but a full disk is something that the user can mend. So the handles remember what they threw. */
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
