/**
 * Thrown by `auth` when nobody is signed in: then the state is `needs-auth`. Whatever else `auth` throws is taken for a
 * fault that passes, and `auth` is asked again.
 */
export class SignedOut extends Error {
  // By this name it is known: an application may have bundled the class twice.
  override readonly name = 'SignedOut'

  constructor(message = 'nobody is signed in', options?: ErrorOptions) {
    super(message, options)
  }
}

export const isSignedOut = (error: unknown): error is Error => error instanceof Error && error.name === 'SignedOut'
