// The bank of the consistency test: a bucket for each branch, with the balances of its accounts and a book that says
// which transaction touched the branch last. Who sees a branch follows from memberships (one lookup) and from the
// regions of staff (two, one after the other).

export const BRANCHES = Array.from({ length: 50 }, (_, n) => `b${String(n + 1).padStart(2, '0')}`)
export const REGIONS = Array.from({ length: 10 }, (_, n) => `r${n + 1}`)
export const ACCOUNTS = 400
const BALANCE = 1_000
/** What all accounts hold together, always. */
export const TOTAL = ACCOUNTS * BALANCE

export const TABLES = `
create table accounts (id text primary key, branch_id text not null, balance int not null);
create table books (id text primary key, serial int not null);
create table clock (id text primary key, serial int not null);
create table members (id text primary key, user_id text not null, branch_id text not null);
create table staff (id text primary key, user_id text not null, region_id text not null);
create table region_branches (id text primary key, region_id text not null);
insert into books select 'b' || lpad(n::text, 2, '0'), 0 from generate_series(1, ${BRANCHES.length}) n;
insert into accounts select 'a' || n, 'b' || lpad((n % ${BRANCHES.length} + 1)::text, 2, '0'), ${BALANCE} from generate_series(1, ${ACCOUNTS}) n;
insert into clock values ('now', 0);
insert into region_branches select 'b' || lpad(n::text, 2, '0'), 'r' || (n % ${REGIONS.length} + 1) from generate_series(1, ${BRANCHES.length}) n;
`

const visible = (column: string): string =>
  [
    `${column} IN (SELECT branch_id FROM members WHERE user_id = auth.user_id())`,
    `${column} IN (SELECT id FROM region_branches WHERE region_id IN (SELECT region_id FROM staff WHERE user_id = auth.user_id()))`,
    `${column} = auth.parameter('branch')`,
  ].join(' OR ')

/** `clock` is for those whose token says so: the others hear nothing of transactions that do not concern them. */
export const SYNC_CONFIG = `
config:
  edition: 3
streams:
  branches:
    auto_subscribe: true
    queries:
      - SELECT id, branch_id, balance FROM accounts WHERE ${visible('branch_id')}
      - SELECT id, serial FROM books WHERE ${visible('id')}
  clock:
    auto_subscribe: true
    query: SELECT id, serial FROM clock WHERE id = auth.parameter('clock')
`
