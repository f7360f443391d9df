import { crc32 } from 'node:zlib'

// Any deterministic 32-bit value is valid on the wire: clients only add what they receive. This is CRC-32 because it is
// 20 times faster than a digest. It is not in `checksum.ts` so that the web client does not import node:zlib.

/** Returns the checksum of a PUT, unsigned 32 bits. `data` is the JSON text as stored. */
export function putChecksum(objectType: string, objectId: string, data: string): number {
  return crc32(`put.${objectType}.${objectId}.${data}`)
}

/** Returns the checksum of a REMOVE, unsigned 32 bits. It depends only on the subkey. */
export function removeChecksum(subkey: string): number {
  return crc32(`delete.${subkey}`)
}
