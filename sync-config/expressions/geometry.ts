import { realText } from './json.ts'
import { EvaluationFailure, type Value } from './values.ts'

/** The ordinates of a point, or nested lists of them, depending on the type. */
interface Geometry {
  type: string
  z: boolean
  m: boolean
  points: number[][]
  rings: number[][][]
  parts: Geometry[]
}

const names = [
  '',
  'Point',
  'LineString',
  'Polygon',
  'MultiPoint',
  'MultiLineString',
  'MultiPolygon',
  'GeometryCollection',
]
const MAX_DEPTH = 20

function bytesOf(value: Value): Uint8Array | null {
  if (value instanceof Uint8Array) return value
  if (typeof value !== 'string') return null
  if (value.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(value))
    throw new EvaluationFailure('not a geometry in hexadecimal EWKB')
  return Uint8Array.from({ length: value.length / 2 }, (_, i) => Number.parseInt(value.slice(2 * i, 2 * i + 2), 16))
}

/**
 * Parses PostGIS's EWKB, which is WKB with flags for Z, M and SRID in the type. Returns null for values of a class that
 * no geometry has.
 */
function geometry(value: Value): Geometry | null {
  const bytes = bytesOf(value)
  if (bytes === null) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const cursor = { at: 0 }
  try {
    return readGeometry(view, cursor, 0)
  } catch (error) {
    if (error instanceof RangeError) throw new EvaluationFailure('the geometry ends too early')
    throw error
  }
}

function readGeometry(view: DataView, cursor: { at: number }, depth: number): Geometry {
  if (depth > MAX_DEPTH) throw new EvaluationFailure('the geometry is nested too deeply')
  const little = view.getUint8(cursor.at++) === 1
  const word = (): number => {
    const value = view.getUint32(cursor.at, little)
    cursor.at += 4
    return value
  }
  const flags = word()
  const thousands = Math.floor((flags & 0xffff) / 1000)
  const kind = (flags & 0xffff) % 1000
  const z = (flags & 0x80000000) !== 0 || thousands === 1 || thousands === 3
  const m = (flags & 0x40000000) !== 0 || thousands === 2 || thousands === 3
  if ((flags & 0x20000000) !== 0) cursor.at += 4
  const type = names[kind]
  if (!type) throw new EvaluationFailure(`the geometry type ${kind} is not known`)
  const point = (): number[] =>
    Array.from({ length: 2 + (z ? 1 : 0) + (m ? 1 : 0) }, () => {
      const value = view.getFloat64(cursor.at, little)
      cursor.at += 8
      return value
    })
  const list = <T>(read: () => T): T[] => {
    const count = word()
    if (count > view.byteLength) throw new EvaluationFailure('the geometry ends too early')
    return Array.from({ length: count }, read)
  }
  const out: Geometry = { type, z, m, points: [], rings: [], parts: [] }
  if (kind === 1) out.points = [point()]
  else if (kind === 2) out.points = list(point)
  else if (kind === 3) out.rings = list(() => list(point))
  else out.parts = list(() => readGeometry(view, cursor, depth + 1))
  return out
}

const isEmptyPoint = (g: Geometry): boolean => g.type === 'Point' && (g.points[0] ?? []).every(Number.isNaN)
const geoPoint = (p: number[]): string => `[${p.map(realText).join(',')}]`

function coordinates(g: Geometry): string {
  switch (g.type) {
    case 'Point':
      return isEmptyPoint(g) ? '[]' : geoPoint(g.points[0] ?? [])
    case 'LineString':
      return `[${g.points.map(geoPoint).join(',')}]`
    case 'Polygon':
      return `[${g.rings.map((ring) => `[${ring.map(geoPoint).join(',')}]`).join(',')}]`
    default:
      return `[${g.parts.map(coordinates).join(',')}]`
  }
}

function json(g: Geometry): string {
  if (g.type === 'GeometryCollection')
    return `{"type":"GeometryCollection","geometries":[${g.parts.map(json).join(',')}]}`
  return `{"type":"${g.type}","coordinates":${coordinates(g)}}`
}

const list = (items: string[]): string => `(${items.join(',')})`
const textPoint = (p: number[]): string => p.map(String).join(' ')

function body(g: Geometry): string {
  switch (g.type) {
    case 'Point':
      return isEmptyPoint(g) ? 'EMPTY' : list([textPoint(g.points[0] ?? [])])
    case 'LineString':
      return g.points.length === 0 ? 'EMPTY' : list(g.points.map(textPoint))
    case 'Polygon':
      return g.rings.length === 0 ? 'EMPTY' : list(g.rings.map((ring) => list(ring.map(textPoint))))
    case 'GeometryCollection':
      return g.parts.length === 0 ? 'EMPTY' : list(g.parts.map(wkt))
    case 'MultiPoint':
      return g.parts.length === 0 ? 'EMPTY' : list(g.parts.map((part) => textPoint(part.points[0] ?? [])))
    default:
      return g.parts.length === 0 ? 'EMPTY' : list(g.parts.map(body))
  }
}

function wkt(g: Geometry): string {
  const dimensions = `${g.z ? 'Z' : ''}${g.m ? 'M' : ''}`
  const text = body(g)
  const name = g.type.toUpperCase() + (dimensions === '' ? '' : ` ${dimensions}`)
  return text === 'EMPTY' || dimensions !== '' ? `${name} ${text}` : `${name}${text}`
}

export const asGeoJson = (value: Value): Value => {
  const g = geometry(value)
  return g && json(g)
}
export const asText = (value: Value): Value => {
  const g = geometry(value)
  return g && wkt(g)
}
export const ordinate = (value: Value, axis: 0 | 1): Value => {
  const g = geometry(value)
  return g?.type === 'Point' ? (g.points[0]?.[axis] ?? null) : null
}
