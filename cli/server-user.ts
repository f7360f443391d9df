import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface ServerUser {
  uid: number
  gid: number
}

/**
 * Returns the user that runs the embedded Postgres. It refuses to run as root, so root uses the user `postgres`, which
 * is created if missing. Null means the current user.
 */
export async function serverUser(): Promise<ServerUser | null> {
  if (process.getuid?.() !== 0) return null
  const id = async (flag: string): Promise<number> => Number((await run('id', [flag, 'postgres'])).stdout)
  try {
    return { uid: await id('-u'), gid: await id('-g') }
  } catch {
    await run('useradd', ['--system', '--user-group', 'postgres']).catch((error: unknown) => {
      throw new Error(
        'Postgres does not run as root, and the user postgres could not be made (useradd): use another user, or --database-url',
        {
          cause: error,
        },
      )
    })
    return { uid: await id('-u'), gid: await id('-g') }
  }
}
