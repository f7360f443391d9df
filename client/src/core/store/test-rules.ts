import type { Mutation } from '../../../../test/support/mutations.ts'

/** A rule of the store, and the code without it. */
export interface Rule {
  rule: string
  mutations: Mutation[]
}

type Edit = [from: string, to: string]

const of =
  (file: string, folder = 'store') =>
  (rule: string, ...edits: Edit[]): Rule => ({
    rule,
    mutations: [{ file: `client/src/core/${folder}/${file}.ts`, edits }],
  })

const tables = of('tables')
const apply = of('apply')
const statements = of('table-statements')
const derive = of('derive')
const incoming = of('incoming')
const local = of('local')
const schema = of('schema')
const join = of('join')
const cover = of('cover')
const request = of('request', 'outbox')
const decide = of('decide', 'outbox')
const failed = of('failed', 'outbox')

export const RULES: Rule[] = [
  tables('a REPLACE covers the row that is stored', [
    'LEFT JOIN ${quoted} t ON t.id = NEW.id',
    'LEFT JOIN ${quoted} t ON false',
  ]),
  tables('a row that a REPLACE covers has no link any more', [
    'DELETE FROM ${at} WHERE rid = (SELECT rowid FROM ${quoted} WHERE id = NEW.id);`',
    '`',
  ]),
  tables('a row that is covered has no link any more', ['DELETE FROM ${at} WHERE rid = OLD.rowid;`', '`']),
  tables('the first change covers, and no later one', [
    '`NOT EXISTS (SELECT 1 FROM rp_base WHERE type = ${type} AND row_id = ${row}.id)`',
    "`'' = ${row}.id OR NOT EXISTS (SELECT 1 FROM rp_base WHERE type = ${type} AND row_id = ${row}.id)`",
  ]),
  tables('an object of our own stands for a blob', ["WHEN 'object' THEN unhex(", "WHEN 'none' THEN unhex("]),
  tables('what there is no column for is kept', [
    "return `nullif(json_remove(${[json, ...known].join(', ')}), '{}')`",
    "return known.length > 99 ? json : 'NULL'",
  ]),

  apply('two subkeys are two origins', ['&& a.sub === b.sub', '']),
  apply('the newest copy is shown', ['ORDER BY op DESC', 'ORDER BY op']),
  apply('the copy that is shown stays when a second one comes', [
    'if (this.copies(id).length === 0) this.keep(id, this.#shown(linked))',
    '',
  ]),
  apply('when a copy goes the next one is shown', [
    'if (rest[0]) this.#update(row.rid, rest[0])\n',
    'if (rest.length > 9) return\n',
  ]),
  apply('the last copy is none', ['if (rest[0] && rest.length === 1) this.forget(id, rest[0])', '']),
  apply('only the origin of a row removes it', ['if (isSame(row, origin)) {', 'if (row) {']),
  apply('a covered row changes in its base alone', [
    'if (base !== undefined) return this.#putBase(id, base, copy)',
    '',
  ]),
  apply('a base that has changed is derived again', [
    "this.db.prepare('INSERT OR IGNORE INTO rp_dirty VALUES (?, ?)').run([this.type, id])\n",
    '\n',
  ]),
  apply('the first copy of a covered row stays when a second one comes', ['if (!several) {', 'if (several) {']),
  apply('a base of which the server has nothing takes what comes', [
    'if (base === null) return this.#setBase(id, copy)',
    'if (base === null) return',
  ]),
  statements('an object of the server becomes its text in a base', [
    "json_quote(${serverFields(table, '?6')[n]})",
    '\'?6\' -> ${literal(`$."${column}"`)}'.replace("'?6'", '?6'),
  ]),
  apply('what a bucket has of rows that are covered is swept too', [
    'rp_base WHERE ${wanted}',
    'rp_base WHERE 0 AND ${wanted}',
  ]),
  apply('copies are swept', ['rp_copies WHERE ${wanted}', 'rp_copies WHERE 0 AND ${wanted}']),
  apply('tables are swept', ['for (const name of this.#tables.keys()) this.#target(name).sweep([from, to, src])', '']),
  apply('a copy has what the table has no column for', ['rest === null ? data :', 'rest !== undefined ? data :']),

  derive('a row that the server lacks goes before its ops run', ['AND b.data IS NULL)`', 'AND 0)`']),
  derive('ops run in their order', ['WHERE d.type = ? ORDER BY o.seq', 'WHERE d.type = ? ORDER BY o.seq DESC']),
  derive('a row that nothing covers has its link again', [
    'INSERT INTO ${atTable(name)} (rid',
    'INSERT OR IGNORE INTO rp_dirty SELECT 0, 0 WHERE 0; WITH unused AS (SELECT 1) DELETE FROM rp_dirty WHERE 0 AND (SELECT 1 --',
  ]),
  derive('a row that nothing covers has no base', [
    '`DELETE FROM rp_base WHERE type',
    '`DELETE FROM rp_base WHERE 0 AND type',
  ]),
  derive('rows of a transaction that is forgotten are derived', [
    "'INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_outbox WHERE tx = ?'",
    "'SELECT ?'",
  ]),

  incoming('a checkpoint that does not add up is not applied', [
    'this.#checksum(name) === bucket.checksum >>> 0 ?',
    'this.#checksum(name) === bucket.checksum >>> 0 || true ?',
  ]),
  incoming('a CLEAR makes nothing of what was received before it', ['received.ops = []\n', '\n']),
  incoming('a CLEAR makes nothing of what was staged before it', [
    "this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([bucket])\n      this.#nextGeneration(bucket)",
    'this.#nextGeneration(bucket)',
  ]),
  incoming('a CLEAR makes nothing of what was applied before it', [
    '      this.#nextGeneration(bucket)\n    }\n    this.#db\n',
    '    }\n    this.#db\n',
  ]),
  incoming('what was staged comes before what is in memory', [
    'for (const [ops] of staged) applyOps(applier, src, JSON.parse(text(ops)))\n    if (received) applyOps(applier, src, received.ops)',
    'if (received) applyOps(applier, src, received.ops)\n    for (const [ops] of staged) applyOps(applier, src, JSON.parse(text(ops)))',
  ]),
  incoming('staged ops are applied in their order', [
    'WHERE bucket = ? ORDER BY seq',
    'WHERE bucket = ? ORDER BY seq DESC',
  ]),
  incoming('a bucket that is no longer ours goes with the next whole checkpoint', [
    'applier.sweep(integer(id), null)',
    'integer(id)',
  ]),
  incoming('and not before', [
    "this.#db.prepare('UPDATE rp_buckets SET name = NULL WHERE name = ?').run([name])",
    "this.#db.prepare('DELETE FROM rp_buckets WHERE name = ?').run([name])",
  ]),
  incoming('what is applied is not staged any more', [
    "this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([bucket])\n    this.#db\n      .prepare(\n",
    'this.#db\n      .prepare(\n',
  ]),
  incoming('a bucket that is loaded again is shown meanwhile, and what it lacks then is swept', [
    '.run([bucket])\n    this.#nextGeneration(bucket)\n  }',
    '.run([bucket])\n  }',
  ]),
  incoming('a write is confirmed when its checkpoint is applied', ['    confirmWrites(this.#db)\n', '\n']),

  local('nothing is captured after a write', ["db.exec('DELETE FROM rp_capture')", '']),
  local('a write is not confirmed before its checkpoint', [
    "state = 'accepted' AND target <= ?",
    "state = 'accepted' AND target <= ? + 1",
  ]),

  schema('a new column has what the server has sent of it', [
    'UPDATE ${quoted} AS t SET ${field} = a.rest ->>',
    'UPDATE ${quoted} AS t SET ${field} = NULL AND a.rest ->>',
  ]),
  schema('and so has a row that is covered', [
    'UPDATE rp_base SET data = json_set(data,',
    "UPDATE rp_base SET data = json_set(data, '$.none', 1), rest = json_set(rest,",
  ]),
  schema('a new table has the rows that came before', ['for (const name of added) applier.adopt(name)', '']),
  schema('a table that the schema lacks is filled on', [
    'new Set([...kept.keys(), ...Object.keys(schema.tables)])',
    'new Set(Object.keys(schema.tables))',
  ]),
  schema('a column that the schema lacks is filled on', ['columns: { ...before?.columns, ...columns }', 'columns']),

  cover('a row that a retry covers has its version of the server in the base', [
    "SELECT ?1, ?2, a.src, a.op, a.sub, ${rowJson(table, 't')}, a.rest FROM",
    'SELECT ?1, ?2, a.src, a.op, a.sub, NULL, a.rest FROM',
  ]),
  cover('and no link', ['db.prepare(`DELETE FROM ${at} WHERE rid = ?`).run([rid ?? null])', '']),
  cover('a row that is covered keeps its base', [
    "if (db.prepare('SELECT 1 FROM rp_base WHERE type = ? AND row_id = ?').all([type, id]).length > 0) return",
    "db.prepare('DELETE FROM rp_base WHERE type = ? AND row_id = ?').run([type, id])",
  ]),
  cover('a row that is covered is derived', [
    "db.prepare('INSERT OR IGNORE INTO rp_dirty VALUES (?, ?)').run([type, id])",
    '',
  ]),

  request('what is sent is marked', ["SET state = 'sent' WHERE seq = ?", "SET state = 'pending' WHERE seq = ?"]),
  request('the order of the queue is that of the writes', [
    "WHERE state <> 'accepted' ORDER BY seq LIMIT ?",
    "WHERE state <> 'accepted' ORDER BY seq DESC LIMIT ?",
  ]),
  request('what is not decided is not said to be', ['Math.min(decided, integer(first[0]) - 1)', 'decided']),
  request('numbers begin anew with a client', ["Number(get(db, 'seq_base') ?? 0)", "Number(get(db, 'seq_none') ?? 0)"]),

  decide('what builds on a rejected transaction goes with it', [
    'stored.failed.push(...failDependents(db, each, now))',
    'stored.failed.push(...failDependents(db, { ...each, rows: new Set() }, now))',
  ]),
  decide('and what builds on that', ['for (const row of own) gone.add(row)', '']),
  decide('what the server rejects because of another one is kept with it', [
    "code === 'depends_on' ?",
    "code === '' ?",
  ]),
  decide('what was accepted shows its effect until it comes back', [
    "UPDATE rp_tx SET state = 'accepted' WHERE seq = ?",
    'DELETE FROM rp_tx WHERE seq = ?',
  ]),
  decide('a write checkpoint that came before its answer confirms', [
    '    confirmWrites(db)\n    for (const id of answer.reopen)',
    '    for (const id of answer.reopen)',
  ]),
  decide('after a reset every unsent transaction is a new one', [
    'SET id = ?, state',
    'SET id = coalesce(id, ?), state',
  ]),
  decide('and is asked for by its old name', ['    renameFate(db, text(id), next)\n', '']),
  decide('and may be sent', ["state = 'pending', retry_of", "state = 'accepted', retry_of"]),

  failed('what depends on a failed write is sent again with it', ['(tx = ?1 OR depends_on = ?1)', '(tx = ?1)']),
  failed('in the old order', ['depends_on = ?1) ORDER BY seq', 'depends_on = ?1) ORDER BY seq DESC']),
  failed('a failed write is sent again once', [
    "db.prepare('UPDATE rp_failed SET next = ? WHERE tx = ?').run([id, failed])",
    '',
  ]),
  failed('the row of an op that is sent again is covered', [
    '  coverRow(db, { type, name: table, id }, tables.get(table))\n',
    '',
  ]),
  failed('what is rolled back is known to be', ['  rejectFate(db, id, why.code, why.message)\n', '']),
  failed('a rejected transaction is rolled back', ['  forget(db, seq)\n', '']),

  local('the fate of what is confirmed says so', ['    confirmFate(db, text(id))\n', '']),

  join('two ops of a row are one only when nothing is between them', [
    '      last = next\n      continue',
    "      last = last?.op === 'put' ? last : next\n      continue",
  ]),
  join('the later value counts', ['merged(db, last.data, next.data)', 'merged(db, next.data, last.data)']),
  join('what was there before is what was there before the first', [
    'merged(db, next.old, last.old)',
    'merged(db, last.old, next.old)',
  ]),
  tables('an upload has what was there before, where the table wants it', [
    "changedOf('NEW'), changedOf('OLD')",
    "changedOf('NEW'), changedOf('NEW')",
  ]),
]

/** Schedules that notice a rule which few do; the others are noticed within the first 80 (2026-11-30). */
export const SEEDS: Readonly<Record<string, number>> = {
  'a copy has what the table has no column for': 225,
  'a CLEAR makes nothing of what was received before it': 148,
  'a CLEAR makes nothing of what was staged before it': 112,
  'a row that a retry covers has its version of the server in the base': 84,
  'and is asked for by its old name': 120,
}
