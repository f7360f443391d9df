import { BsonWriter } from './bson.ts'
import type { LineEncoder } from './transport.ts'

/** One BSON document per line; its own length is the only framing. */
export const bsonLines: LineEncoder<Uint8Array> = {
  line: (line) => {
    const writer = new BsonWriter(new Uint8Array(1_024))
    const start = writer.begin()
    for (const [name, value] of Object.entries(line)) writer.value(name, value)
    writer.end(start)
    return writer.finish()
  },

  data: ({ bucket, after, next, more, ops }) => {
    const texts = encoder.encode(ops)
    const writer = new BsonWriter(room(texts.length * 2 + bucket.length * 3 + 1_024))
    const start = writer.begin()
    const data = writer.document('data')
    writer.string('bucket', bucket)
    writer.string('after', String(after))
    writer.string('next_after', String(next))
    writer.boolean('has_more', more)
    writer.ops('data', texts)
    writer.end(data)
    writer.end(start)
    // A copy: the line may wait for its reader, and the buffer is used again for the next line.
    return writer.finish().slice()
  },
}

const encoder = new TextEncoder()

/** A buffer that is kept for the next line: allocating and clearing it takes nearly as long as writing the line. */
let workspace = new Uint8Array(0)
const LARGEST_WORKSPACE = 4 * 1024 * 1024

function room(bytes: number): Uint8Array<ArrayBuffer> {
  if (bytes > LARGEST_WORKSPACE) return new Uint8Array(bytes)
  if (workspace.length < bytes) workspace = new Uint8Array(bytes)
  return workspace
}
