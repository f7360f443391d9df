import type { WireOp } from '../../protocol/ops.ts'
import { BsonWriter } from './bson.ts'
import type { LineEncoder } from './lines.ts'

/** One BSON document per line; its own length is the only framing. */
export const bsonLines: LineEncoder<Uint8Array> = {
  line: (line) => {
    const writer = new BsonWriter(1_024)
    const start = writer.begin()
    for (const [name, value] of Object.entries(line)) writer.value(name, value)
    writer.end(start)
    return writer.finish()
  },

  data: ({ bucket, after, next, more, ops }) => {
    const list: WireOp[] = JSON.parse(`[${ops}]`)
    const writer = new BsonWriter(ops.length + 1_024)
    const start = writer.begin()
    const data = writer.document('data')
    writer.string('bucket', bucket)
    writer.string('after', String(after))
    writer.string('next_after', String(next))
    writer.boolean('has_more', more)
    const array = writer.array('data')
    for (let i = 0; i < list.length; i++) {
      const op = list[i]
      if (op) writeOp(writer, String(i), op)
    }
    writer.end(array)
    writer.end(data)
    writer.end(start)
    return writer.finish()
  },
}

function writeOp(writer: BsonWriter, index: string, op: WireOp): void {
  const start = writer.document(index)
  writer.string('op_id', op.op_id)
  writer.string('op', op.op)
  if (op.op === 'PUT' || op.op === 'REMOVE') {
    writer.string('object_type', op.object_type)
    writer.string('object_id', op.object_id)
    writer.string('subkey', op.subkey)
  }
  writer.integer('checksum', op.checksum)
  if (op.op === 'PUT') writer.string('data', op.data)
  else if (op.op === 'REMOVE') writer.null('data')
  writer.end(start)
}
