import type { Mutation } from '../support/mutations.ts'

// The file is long because it is one list of rules.

/** A rule of the protocol between the objects, and the code without it. */
export interface Rule {
  rule: string
  mutations: Mutation[]
}

type Edit = [from: string, to: string]

const of =
  (file: string) =>
  (rule: string, ...edits: Edit[]): Rule => ({ rule, mutations: [{ file, edits }] })

const retry = of('durable-objects/shared/retry.ts')
const pipeline = of('durable-objects/replicator/commit/pipeline.ts')
const slots = of('durable-objects/replicator/store/outbox-slots.ts')
const watchers = of('durable-objects/replicator/commit/watchers.ts')
const hold = of('durable-objects/replicator/commit/hold.ts')
const tables = of('durable-objects/replicator/store/tables.ts')
const log = of('durable-objects/bucket/log.ts')
const compaction = of('durable-objects/bucket/compaction.ts')
const direct = of('durable-objects/bucket/direct.ts')
const relay = of('durable-objects/relay/machine.ts')
const view = of('workers/stream/view.ts')
const resolve = of('workers/stream/resolve.ts')
const emit = of('workers/stream/emit.ts')
const stream = of('workers/stream/stream.ts')
const committer = of('durable-objects/replicator/commit/committer.ts')
const relaySockets = of('durable-objects/replicator/commit/relay-sockets.ts')
const fencing = of('durable-objects/replicator/commit/fencing.ts')
// Copies of rows, and the comparison of buckets, are the simulation's own.
const reading = of('test/simulation/replicator.ts')

const NEWEST = 'Number.MAX_SAFE_INTEGER'

export const RULES: Rule[] = [
  // Calls between objects.
  retry('a call that is never answered is given up', ['Promise.race([call(attempt), late])', 'call(attempt)']),

  // The replicator.
  pipeline('a batch is committed when all of its buckets have answered', [
    'group.final && group.open === 0',
    'group.final',
  ]),
  pipeline('appends to one bucket go one after the other', [
    'if (queue) queue.push({ append, flight })',
    'if (queue) { queue.push({ append, flight }); this.#ports.send(append, batch) }',
  ]),
  pipeline('batches are committed in their order, however late a bucket answers', [
    'const [group] = this.#groups\n    if (!group || !isReady(group)) return null\n    this.#groups.shift()',
    'const group = this.#groups.find(isReady)\n    if (!group) return null\n    this.#groups.splice(this.#groups.indexOf(group), 1)',
  ]),
  pipeline('slices are committed with the last one', ['group.final && group.open === 0', 'group.open === 0']),
  committer('a slice is not stored as the whole transaction', [
    'const final = partial === null && (',
    'const final = (',
  ]),
  committer('what is in the outbox is sent again after a crash', [
    "if (newest) this.#pipeline.recover(state.get('commit').batch, newest, newest.answered)",
    'if (newest) outbox.drop(newest.id)',
  ]),
  slots('what is not committed is not written over', ['while (this.#used[this.#lowest]) this.#lowest++', '']),
  pipeline('what is too much for a notice is a gap', ['group.noticed = null', 'group.noticed.clear()']),
  committer('a switch of plans takes an op id', ['counter: counter + 1', 'counter']),
  relaySockets('the relays are stored', ["ports.store.db.all('SELECT name, serial FROM relays')", '[]']),
  committer('sockets to all relays are opened after a crash', ['relays.keepAllOpen()', '']),
  relaySockets('a refusal that comes late does not undo a newer attach', [
    'if (this.#serials.get(relay) === serial) this.#forget(relay)',
    'this.#forget(relay)',
  ]),
  relaySockets('a socket that has fallen is opened again', [
    'this.#sockets.delete(relay)\n      this.keepOpen(relay)',
    'this.#sockets.delete(relay)',
  ]),
  relaySockets(
    'a relay is greeted in the step in which its socket is registered',
    [
      'const connection = await connect(relay, serial)',
      'const early = [this.gap()]\n    const connection = await connect(relay, serial)',
    ],
    ['this.#register(relay, serial, connection)', 'this.#register(relay, serial, connection, early)'],
    [
      '{ link, checkpoint, hashed, fences }: RelayConnection): void {',
      '{ link, checkpoint, hashed, fences }: RelayConnection, early): void {',
    ],
    ['hashed ? [this.gap()] : this.#greeting(checkpoint)', 'early'],
  ),
  {
    rule: 'a notice is applied to the checkpoint that it follows',
    mutations: [
      {
        file: 'durable-objects/replicator/commit/relay-sockets.ts',
        edits: [['if (named === null || has === null || named.previous !== has)', 'if (named === null)']],
      },
      {
        file: 'durable-objects/relay/machine.ts',
        edits: [['else if (frame.previous !== this.#checkpoint) gap = true', '']],
      },
    ],
  },
  watchers('a bucket that is followed is told of a commit', [
    'for (const bucket of buckets ?? this.#serials.keys()) if',
    'for (const bucket of buckets ?? this.#serials.keys()) if (false) if',
  ]),
  watchers('publishing is tried again', ['void this.#again(bucket)', '']),
  watchers('what is committed while a bucket is told is told as well', [
    'if (this.#notifying.get(bucket) === true) this.#waiting.add(bucket)',
    '',
  ]),
  watchers('the buckets that are followed are stored', ["ports.db.all('SELECT bucket, serial FROM watchers')", '[]']),
  watchers('who has come since is not forgotten with those who went', [
    'if (none && this.#serials.get(bucket) === serial)',
    'if (none)',
  ]),
  committer('whoever starts publishes what may not have been', ["watchers.resume(state.get('commit'))", '']),
  committer('a switch of plans is published to all', ['all || buckets === null ? null', 'buckets === null ? null']),

  // While rows are compared.
  of('durable-objects/replicator/store/served.ts')('what is served stands still while rows are compared', [
    'hold ? { checkpoint: hold.checkpoint, plan: hold.plan } : { checkpoint: committed, plan }',
    '({ checkpoint: committed, plan })',
  ]),
  hold('it stands still until all that was stored by the end of it is committed', [
    'committed >= hold.until',
    'committed > 0',
  ]),
  hold('a comparison that begins before that goes on with what was served', [
    '...servedOf(commit), since',
    'checkpoint: commit.committed, plan: commit.plan, since',
  ]),
  hold('a comparison that begins before that has an end of its own', [
    'until: null }',
    'until: commit.hold?.until ?? null }',
  ]),
  hold('the end of it is told', ["return after.hold === null ? 'gap' : null", 'return null']),
  hold('no notice of a commit is told meanwhile', [
    "if (before.hold === null) return 'notice'",
    "if (after !== null) return 'notice'",
  ]),
  hold('who comes meanwhile is greeted with the last notice that was told', [
    'before.hold ? before.named : now.named',
    'now.named',
  ]),
  committer('it stands still from the moment when the slot does not connect', [
    "state.set('commit', held(commit, new Date(this.#ports.clock.now()).toISOString()))",
    'null',
  ]),
  committer('compaction stops below what is served', [
    '?.served ?? this.#store.serving.checkpoint',
    "?.served ?? this.#store.state.get('commit').committed",
  ]),
  committer('it ends when every row has its values', [' || tables.lacks((names) => store.isServed(names))', '']),
  committer('nothing is a state of the source while rows lack values', [
    "partial === null && (isComparing(state.get('commit')) || !this.#store.lacks(plan))",
    'partial === null',
  ]),
  reading('what the stream has told since is not written over by what was read', [
    '|| touched.has(key)) continue',
    ') continue',
  ]),
  tables('what was kept before a slot was lost is not taken', [
    'table.copy = { ...newCopy(true), altered: true, doubtful: true }',
    'table.copy = { ...newCopy(true), doubtful: true }',
  ]),
  tables('it ends when every table is compared', [
    'table.copy = { ...newCopy(true), altered: true, doubtful: true }',
    'table.copy = { ...newCopy(true), altered: true, doubtful: false }',
  ]),

  of('durable-objects/replicator/writes/mailboxes.ts')(
    'I5: a lower marker that commits later does not take the place of a higher one',
    ['if (there !== null && there >= n) return null', ''],
  ),

  // The bucket.
  log('an append that comes again is ignored', [
    'if (request.last <= pages.head.last) return this.state(request.last)',
    '',
  ]),
  log('an append is answered at its last op', ['return this.state(request.last)', 'return this.#current()']),
  log('the state is that at the checkpoint', [
    'if (checkpoint >= head.last) return this.#current()',
    'if (head.last > 0) return this.#current()',
  ]),
  log('nothing above the checkpoint is read', [
    'const read: Part[] = []',
    `checkpoint = ${NEWEST}\n    const read: Part[] = []`,
  ]),
  log('what is superseded is not sent', [
    'this.#history.collapse(read, after, checkpoint, !more)',
    '{ bodies: read.map(({ body }) => body), found: false }',
  ]),
  log('rows are those at the checkpoint', [
    'const rows = new Map<string, string>()',
    `checkpoint = ${NEWEST}\n    const rows = new Map<string, string>()`,
  ]),
  log('state and rows say that compaction has overtaken the checkpoint', [
    'if (checkpoint >= this.#pages.header.target) return false',
    'return false',
  ]),
  log('a read says that compaction has overtaken the checkpoint', [
    "if (page.target > checkpoint) return { kind: 'overtaken' }",
    '',
  ]),
  log('only what is committed is compacted', [
    'this.#compaction.step(this.committed)',
    'this.#compaction.step(this.#pages.head.last)',
  ]),
  compaction('a MOVE remembers in whose favour it was made', ['target = Math.max(target, newest)', '']),
  compaction('a CLEAR has the checksum of its run', ['clearText(last, checksum)', 'clearText(last, 0)']),
  compaction('a PUT ends the run that becomes a CLEAR', ['!isFoldable(text) || opIdOf', 'opIdOf']),
  compaction('the newest op of a row stays', ['newest !== undefined && newest > id', 'newest !== undefined']),
  direct('a bucket that is followed asks to be watched', ['    this.ask()\n', '']),
  direct('a direct stream gets only what is committed', ['Math.max(state.goal, this.#log.committed)', NEWEST]),
  direct('a direct stream begins when the replicator has answered', [
    '      if (this.#unchecked.has(socket) || (this.#watching && untold(state))) return\n',
    '',
  ]),
  direct('another plan ends a direct stream', ['if (state.plan !== serving.plan)', 'if (state.plan === undefined)']),

  // The relay.
  relay('a socket that brought nothing before a sleep is no reason not to ask for another', [
    '(this.#checkpoint === null && !this.#asked)',
    'false',
  ]),
  relay('what is not newer is ignored', ['frame.checkpoint <= this.#checkpoint) {', 'frame.checkpoint < 0) {']),
  relay(
    'a notice takes effect with its last part',
    ['if (frame.part < frame.parts) return', ''],
    ['if (this.#parts.length !== frame.parts) gap = true\n      else if', 'if'],
  ),
  relay('a notice of which a part is missing is a gap', [
    'if (this.#parts.length !== frame.parts) gap = true\n      else if',
    'if',
  ]),
  relay('a gap forgets the states', [
    'const before = new Map(this.#known)\n    this.#known.clear()',
    'const before = new Map(this.#known)',
  ]),
  relay('after a gap all buckets are owed', [
    's.owed.set(name, null)\n        const state = before.get(name)',
    'const state = before.get(name)',
  ]),
  relay('what was owed before a gap stays owed', [
    'if (!s.maybe.has(name)) s.owed.set(name, null)\n          continue',
    'if (!s.maybe.has(name)) s.owed.set(name, null)',
  ]),
  of('durable-objects/relay/questions.ts')('a state that was asked for at an older checkpoint is not taken', [
    'if (answer !== null && !stale()) {',
    'if (answer !== null) {',
  ]),
  relay('a notice says more than an answer that is under way', [
    'this.#questions.drop(name)\n      for (const stream of this.#having',
    'for (const stream of this.#having',
  ]),
  relay('streams whose names were lost subscribe again', [
    "      if (s.lost.size > 0) {\n        this.#drop(stream, 'the names of its buckets were lost')\n        continue\n      }\n      for (const name of s.names.keys()) {\n        if (s.owed",
    '      for (const name of s.names.keys()) {\n        if (s.owed',
  ]),
  relay('a new plan is told to all streams', [' || s.toldPlan !== this.#plan', '']),
  relay('a stream is greeted at a checkpoint that was committed when it came', [
    's.hello.minimum === null || checkpoint < s.hello.minimum',
    'checkpoint < 0',
  ]),
  relay('the attachment knows the checkpoint', [
    'this.#ports.saveCheckpoint(this.#checkpoint ?? 0, this.#plan, [...this.#fenced], this.#comparing)',
    '',
  ]),
  relay('the attachment knows the buckets of a stream', [
    'this.#save(stream, s)\n    this.flush(stream)',
    'this.flush(stream)',
  ]),
  relay('streams of a bucket that is fenced end', [
    'for (const stream of [...this.#having.get(name)]) this.#drop(stream, ...FENCED)',
    '',
  ]),
  relay('who comes for a bucket that is fenced is refused', ['fenced ||= this.#fenced.has(mark)', '']),
  relay('which buckets are fenced may change at one checkpoint', [
    'this.#fence(frame)\n      if (moved)',
    'if (moved)',
  ]),
  relay('streams of which only marks are left hear of a fence', [
    '      this.#find(name)\n      for (const stream of [...',
    '      for (const stream of [...',
  ]),
  relay('a relay that slept knows which buckets are fenced', ['this.#fenced = new Set(at.fenced)', '']),
  committer('notices say which buckets are fenced', [
    'noticeFrames(commit, this.#store.fencedNames,',
    'noticeFrames(commit, [],',
  ]),
  reading('a bucket that answers again is not announced before it is mended', [
    'if (now === null || now.mended === null || now.mended > committed) return',
    'if (now === null) return',
  ]),
  committer('a bucket that is fenced hears of no checkpoint by its appends', [
    'fences.of(bucket)?.served ?? this.#store.serving.checkpoint',
    'this.#store.serving.checkpoint',
  ]),
  committer('clients go on behind a comparison only where a transaction has ended', [
    "if (state.get('decode').partial !== null) return",
    '',
  ]),
  fencing(
    'a probe is above all that was ever sent, by earlier incarnations too',
    ["begin({ bucket }: Pick<StoredAppend, 'bucket'>,", 'begin({ bucket, last }: StoredAppend,'],
    ["const barrier = state.get('decode').counter", 'const barrier = last'],
  ),
  of('durable-objects/replicator/commit/probe.ts')('what was sent before a probe has no effect after it', [
    'first: barrier, last: barrier',
    'first: 1, last: 1',
  ]),
  relay('ops of two notices are not put together', ['s.owed.has(name) ? null : ops', 'ops']),
  relay('a stream is told when all that it is owed is known', [
    '    if (missing) {',
    '    if (missing && s.seq !== null) {',
  ]),
  relay('a relay with streams attaches', ['this.wants = true\n      this.#attach()', 'this.wants = true']),
  relay('a stream that is owed something when the relay sleeps subscribes again', [
    '      if (owing) {',
    '      if (owing && toldPlan === "") {',
  ]),
  relay('what is known of a bucket that nobody has is forgotten', [
    '    this.#known.delete(name)\n    this.#questions',
    '    this.#questions',
  ]),

  // The stream.
  view('I7: a lookup that has changed is read again', ['lookup.valid = false\n        this.version++', '']),
  view('I7: what followed from a lookup that has changed is not told again', [
    'lookup.valid = false\n        this.version++',
    'lookup.valid = false',
  ]),
  view('ops that came along follow without a hole', [
    'if (ops === null || !known) this.dropTail(bucket)',
    'if (ops === null || !known) continue',
  ]),
  resolve('the answer to a subscription moves the view', [
    'view.apply(frame)\n      if (frame.seq === seq) return true',
    'if (frame.seq === seq) return true',
  ]),
  resolve('a lookup that is overtaken is not known', [
    "if (answer?.kind === 'rows') view.setRows(bucket, answer.rows)",
    "if (answer?.kind !== 'gone') view.setRows(bucket, answer?.kind === 'rows' ? answer.rows : [])",
  ]),
  emit('the positions of removed buckets are forgotten', [
    'for (const bucket of removed_buckets) this.#forget(bucket)',
    '',
  ]),
  emit('a bucket that is not in the first checkpoint starts anew', [
    'if (!entries.has(bucket)) this.#forget(bucket)',
    'continue',
  ]),
  emit('a read that is overtaken completes nothing', [
    'if (part === null) {',
    "if (part === null) {\n        return { kind: 'sent', ops: sent }",
  ]),
  emit('an interrupted checkpoint is followed by a diff', [' && this.#done)', ')']),
  stream('a new upstream knows of no subscription', ['view.unsubscribed(hello.form)', '']),
  view('behind a new upstream everything is subscribed again', [
    'this.subscribed.clear()\n    this.version++',
    'this.subscribed.clear()',
  ]),

  // Names. A hash that many of them share is what those would be who compare nothing.
  of('protocol/names.ts')('names are compared', [
    'bucket.length <= MAX_FRAME_NAME ? bucket :',
    'bucket.length <= MAX_FRAME_NAME ? bucket.slice(0, -2) :',
  ]),
  of('durable-objects/relay/marks.ts')('names are told apart through hibernation', [
    "createHmac('sha256', this.key).update(name)",
    "createHmac('sha256', this.key).update(name.slice(0, 2))",
  ]),
]
