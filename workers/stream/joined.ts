import type { LineEncoder } from '../transports/transport.ts'
import type { LineSink } from './ports.ts'

/**
 * The most bytes, or UTF-16 units, of lines that wait for the next one: little compared with what may be in flight to a
 * client.
 */
const JOINED_LENGTH = 4 * 1024

export interface JoinedOutput<T> extends Pick<LineSink, 'signal' | 'room'> {
  /** One or more lines. */
  write(lines: T): Promise<void>
}

/**
 * Sends consecutive short lines together, because a send costs more than such a line, and for most clients a change is
 * three of them. Lines that are kept back are sent at the end of their checkpoint, and before anything is read.
 */
export function joinedLines<T extends { length: number }>(
  encoder: LineEncoder<T>,
  join: (lines: readonly T[]) => T,
  output: JoinedOutput<T>,
  limit = JOINED_LENGTH,
): LineSink {
  let kept: T[] = []
  let length = 0
  const flush = async (): Promise<void> => {
    const [first] = kept
    if (first === undefined) return
    const lines = kept.length === 1 ? first : join(kept)
    kept = []
    length = 0
    await output.write(lines)
  }
  const add = async (line: T, last: boolean): Promise<void> => {
    output.signal.throwIfAborted()
    if (length + line.length > limit) await flush()
    kept.push(line)
    length += line.length
    if (last || length > limit) await flush()
  }
  return {
    signal: output.signal,
    room: async () => {
      await flush()
      await output.room()
    },
    send: (line) => add(encoder.line(line), 'checkpoint_complete' in line),
    data: (line) => add(encoder.data(line), false),
  }
}

/** Sends every line by itself. */
export const singleLines = <T>(encoder: LineEncoder<T>, output: JoinedOutput<T>): LineSink => ({
  signal: output.signal,
  room: () => output.room(),
  send: (line) => output.write(encoder.line(line)),
  data: (line) => output.write(encoder.data(line)),
})
