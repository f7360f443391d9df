/** Returns what the software of a client calls itself. In a browser only the second header can be set by it. */
export const agentOf = (headers: Headers): string | undefined =>
  headers.get('x-user-agent') ?? headers.get('user-agent') ?? undefined
