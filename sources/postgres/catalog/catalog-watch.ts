import type { Sql } from 'postgres'
import { wantedRelations } from './catalog.ts'
import { sourceError } from '../wire/connection.ts'
import type { TableName } from '../../../protocol/tables.ts'

/**
 * Returns a hash of the definitions of what is followed: tables, columns, keys, identities, partitions, types,
 * privileges and the publication. Most changes of definitions send nothing through the stream, so the replicator
 * compares this every few seconds. Ordinary work (INSERT, ANALYZE, VACUUM, CREATE INDEX) does not change it. Throws a
 * RockpoolError of the source.
 */
export async function catalogVersion(sql: Sql, publication: string, names: readonly TableName[]): Promise<string> {
  try {
    const [row] = await sql<{ version: string }[]>`
      WITH RECURSIVE ${wantedRelations(sql, names)},
      pub AS (SELECT oid, xmin, pubviaroot FROM pg_publication WHERE pubname = ${publication}),
      facts AS (
        SELECT concat_ws(' ', 'table', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relispartition,
          (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition),
          has_table_privilege(c.oid, 'SELECT'), CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'no schema' END, c.relrowsecurity AND row_security_active(c.oid),
          -- The TRUNCATE of a partition whose rows come under the table above sends nothing.
          CASE WHEN c.relispartition AND (SELECT pubviaroot FROM pub) THEN pg_relation_filenode(c.oid) END) AS fact
        FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        UNION ALL SELECT concat_ws(' ', 'column', a.attrelid, a.attnum, a.xmin) FROM wanted w JOIN pg_attribute a ON a.attrelid = w.oid
          WHERE a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT concat_ws(' ', 'index', i.indexrelid, i.indisprimary, i.indisreplident, i.indimmediate, i.indkey)
          FROM wanted w JOIN pg_index i ON i.indrelid = w.oid WHERE i.indisprimary OR i.indisreplident
        UNION ALL SELECT concat_ws(' ', 'publication', oid, xmin) FROM pub
        UNION ALL SELECT concat_ws(' ', 'member', r.oid, r.xmin) FROM pub JOIN pg_publication_rel r ON r.prpubid = pub.oid
        UNION ALL SELECT concat_ws(' ', 'published', schemaname, tablename) FROM pg_publication_tables WHERE pubname = ${publication}
        UNION ALL SELECT concat_ws(' ', 'type', t.oid, t.xmin) FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
          WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r', 'm') OR (t.typtype = 'c' AND c.relkind = 'c'))
        UNION ALL SELECT concat_ws(' ', 'label', l.oid, l.xmin) FROM pg_enum l
        UNION ALL SELECT concat_ws(' ', 'attribute', a.attrelid, a.attnum, a.xmin) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relkind = 'c' AND c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
      )
      SELECT encode(sha256(convert_to(coalesce(string_agg(fact, E'\n' ORDER BY fact), ''), 'UTF8')), 'hex') AS version FROM facts`
    return row?.version ?? ''
  } catch (error) {
    throw sourceError(error)
  }
}
