import type { Held } from './held.ts'
import { READ_COPIES, READ_LENGTH } from './limits.ts'
import type { StreamPorts } from './ports.ts'

/**
 * Wraps the ports of a stream so that it reads only what the isolate has room for, and counts that until it is written.
 */
export function boundedPorts<T extends StreamPorts>(ports: T, held: Held): T {
  const { lines } = ports
  const written = () => held.set('reading', 0)
  return {
    ...ports,
    lines: {
      signal: lines.signal,
      room: async () => {
        written()
        held.downloading = true
        await lines.room()
        await held.reserve(READ_COPIES * READ_LENGTH, lines.signal)
      },
      send: async (line) => {
        await lines.send(line)
        if ('checkpoint_complete' in line) held.downloading = false
      },
      data: async (line) => {
        await lines.data(line)
        written()
      },
    },
    read: async (bucket, after, checkpoint) => {
      const answer = await ports.read(bucket, after, checkpoint)
      held.set('reading', answer.kind === 'ops' ? READ_COPIES * answer.body.length : 0)
      return answer
    },
  }
}
