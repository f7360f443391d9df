/**
 * Every command and every option, declared once: what a command accepts (`options.ts`) and its help (`help.ts`) are
 * made from this. A command that takes an option says what the option does there. The file is long because it is the
 * one list.
 */

export interface OptionDeclaration {
  type: 'string' | 'boolean'
  short?: string
  multiple?: boolean
  /** The name of its argument in the help. */
  value?: string
  /** The environment variable that is used when the option is missing. */
  env?: string
}

export const OPTIONS = {
  port: { type: 'string', value: 'PORT', env: 'PORT' },
  'database-url': { type: 'string', value: 'URL', env: 'DATABASE_URL' },
  'sync-config': { type: 'string', value: 'FILE', env: 'SYNC_CONFIG' },
  'jwt-secret': { type: 'string', value: 'BASE64URL', env: 'JWT_SECRET' },
  'jwt-audience': { type: 'string', value: 'AUDIENCE', env: 'JWT_AUDIENCE' },
  data: { type: 'string', value: 'FOLDER', env: 'DATA' },
  example: { type: 'boolean', env: 'EXAMPLE' },
  'no-example': { type: 'boolean', env: 'NO_EXAMPLE' },
  sub: { type: 'string', value: 'USER' },
  ttl: { type: 'string', value: 'DURATION' },
  claim: { type: 'string', value: 'KEY=VALUE', multiple: true },
  url: { type: 'string', value: 'URL', env: 'ROCKPOOL_URL' },
  token: { type: 'string', value: 'TOKEN', env: 'ROCKPOOL_TOKEN' },
  yes: { type: 'boolean', short: 'y' },
  json: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  force: { type: 'boolean' },
  to: { type: 'string', value: 'NUMBER' },
  withdraw: { type: 'boolean' },
  watch: { type: 'boolean' },
  repair: { type: 'boolean' },
  cancel: { type: 'boolean' },
  out: { type: 'string', value: 'PATH' },
  'as-deployed': { type: 'boolean' },
  tenant: { type: 'string', value: 'NAME', env: 'ROCKPOOL_TENANT' },
  setting: { type: 'string', value: 'NAME=VALUE', multiple: true },
  secret: { type: 'string', value: 'NAME', multiple: true },
  secrets: { type: 'string', value: '-' },
  host: { type: 'string', value: 'HOST', multiple: true },
  'tenant-claim': { type: 'string', value: 'CLAIM' },
  limit: { type: 'string', value: 'NAME=WARN:REFUSE', multiple: true },
  location: { type: 'string', value: 'REGION' },
  jurisdiction: { type: 'string', value: 'JURISDICTION' },
  'new-database': { type: 'boolean' },
  'reuse-name': { type: 'boolean' },
  'keep-source': { type: 'boolean' },
  user: { type: 'string', value: 'USER' },
  'client-id': { type: 'string', value: 'ID' },
  jti: { type: 'string', value: 'ID' },
  before: { type: 'string', value: 'TIME' },
  until: { type: 'string', value: 'TIME' },
  forever: { type: 'boolean' },
} as const satisfies Record<string, OptionDeclaration>

export type OptionName = keyof typeof OPTIONS

export interface CommandDeclaration {
  /** Its arguments, as help shows them. */
  argument: string
  /** Its line in the list of commands. */
  does: string
  /** What each option does for this command. */
  options: Partial<Record<OptionName, string>>
  /** Variables and settings that it uses besides those of its options. */
  environment?: readonly string[]
  /** Further notes for the help. */
  more?: readonly string[]
  example: string
}

const ALL_SETTINGS =
  'Every setting of docs/settings.md is taken from the environment, then from [vars] of wrangler.toml.'
const SIGNED = 'JWT_SECRET and JWT_AUDIENCE are also taken from [vars] of wrangler.toml.'
const SHOWN = 'With NO_COLOR there are no colours.'

const SECRET = {
  'jwt-secret': 'the secret of HS256, in place of the one of the data folder',
  'jwt-audience': 'the audience of the token; rockpool when nothing else is said',
  data: 'the data folder of rockpool dev; .rockpool/data when nothing else is said',
} as const

const TARGET = {
  url: 'where Rockpool answers; rockpool dev when nothing else is said',
  token:
    'a token with the claim "operator": true. - reads it from standard input, for a command line is seen by every user of the machine',
} as const

const OPERATOR = {
  ...TARGET,
  tenant: 'the tenant of this name, where there are several',
  ...SECRET,
} as const

const JSON_ANSWER = 'the answer as JSON, and nothing else'

export const COMMANDS = {
  dev: {
    argument: '',
    does: 'runs database, edge and example on this machine',
    options: {
      port: 'of the HTTP side, 8787 when nothing else is said; the example has the next one',
      'database-url': 'this Postgres in place of the embedded one',
      'sync-config': 'in place of sync-config.yaml; it is deployed again whenever it is saved',
      'jwt-secret': 'the secret of HS256; otherwise one is made and kept',
      'jwt-audience': 'the audience of tokens; rockpool when nothing else is said',
      data: 'where everything is kept; .rockpool/data when nothing else is said',
      'no-example': 'no example',
      example: 'the example with --database-url, too: it makes its tables there',
    },
    environment: [ALL_SETTINGS],
    example: 'rockpool dev --sync-config sync-config.yaml --no-example',
  },
  token: {
    argument: '',
    does: 'signs a token with the development secret',
    options: {
      sub: 'whose token it is; required',
      ttl: 'how long it lives, 30s to 1d; 1h when nothing else is said',
      claim: 'a further claim, again and again; the value is JSON, or a text',
      tenant: 'for the tenant of this name, which has the development secret: see tenants create --new-database',
      ...SECRET,
    },
    environment: [SIGNED],
    example: 'rockpool token --sub alice --ttl 15m --claim admin=true',
  },
  sql: {
    argument: '"STATEMENT"',
    does: 'runs SQL in the development database',
    options: {
      'database-url': 'another database than that of rockpool dev',
      tenant: 'the database that tenants create --new-database has made for this tenant',
      data: SECRET.data,
    },
    example: 'rockpool sql "SELECT count(*) FROM todos"',
  },
  check: {
    argument: 'FILE',
    does: 'says what a deploy would refuse: sync config, settings, database',
    options: {
      'database-url': 'a look at this database; otherwise at that of a rockpool dev that runs in this folder',
      data: SECRET.data,
      json: JSON_ANSWER,
    },
    environment: [ALL_SETTINGS, SHOWN],
    more: ['Exit code 0: it can be deployed; 1: there are errors; 2: the call is wrong.'],
    example: 'rockpool check sync-config.yaml --database-url postgres://me@db.example/app',
  },
  explain: {
    argument: 'FILE',
    does: 'says what a sync config means and costs',
    options: { 'database-url': 'for the check of a file with errors', data: SECRET.data, json: 'the plan itself' },
    environment: ['MAX_DISJUNCTS and MAX_BUCKETS_PER_STREAM are taken from the environment.', SHOWN],
    example: 'rockpool explain sync-config.yaml',
  },
  types: {
    argument: 'FILE',
    does: "writes the client's schema, with the types of rows, from a sync config and the database",
    options: {
      'database-url': 'the database; otherwise that of a rockpool dev that runs in this folder',
      data: SECRET.data,
      out: 'this file in place of the terminal',
    },
    environment: ['DATABASE_URL and DATABASE_CA are taken from the environment, then from [vars] of wrangler.toml.'],
    more: ['Exit code 0: it was written; 1: the sync config has errors; 2: the call is wrong.'],
    example: 'rockpool types sync-config.yaml --out src/schema.ts',
  },
  deploy: {
    argument: 'FILE',
    does: 'deploys another sync config without a pause',
    options: {
      ...OPERATOR,
      'dry-run': 'only says what it would change',
      yes: 'asks nothing; needed where there is no terminal to ask on',
      force: 'also with tables that cannot be followed, and what was withdrawn',
      json: JSON_ANSWER,
    },
    environment: [SIGNED, SHOWN],
    more: ['Exit code 0: it serves; 1: it was refused; 2: the call is wrong. See docs/operations.md#deploys.'],
    example: 'rockpool deploy sync-config.yaml --url https://sync.example.com --dry-run',
  },
  deploys: {
    argument: '',
    does: 'lists the deploys: number, when, by whom, plan, state',
    options: { ...OPERATOR, json: JSON_ANSWER },
    environment: [SIGNED, SHOWN],
    more: ['Exit code 0: it was answered; 1: it was refused; 2: the call is wrong.'],
    example: 'rockpool deploys',
  },
  rollback: {
    argument: '',
    does: 'goes back to the sync config before, or to any that has served',
    options: {
      ...OPERATOR,
      to: 'to the sync config of this deploy; rockpool deploys has the numbers',
      withdraw: 'the one that is left never serves again',
      'dry-run': 'only says what it would change',
      yes: 'asks nothing; needed where there is no terminal to ask on',
      json: JSON_ANSWER,
    },
    environment: [SIGNED, SHOWN],
    more: ['Exit code 0: it serves; 1: it was refused; 2: the call is wrong. See docs/operations.md#deploys.'],
    example: 'rockpool rollback --to 3 --dry-run',
  },
  status: {
    argument: '[URL]',
    does: 'says how it is now, with a look at Postgres, and what to do',
    options: { ...OPERATOR, watch: 'draws it again and again', json: JSON_ANSWER },
    environment: [SIGNED, SHOWN],
    more: ['Exit code 0: all is well; 1: there is a problem; 2: it cannot be asked.'],
    example: 'rockpool status https://sync.example.com --json',
  },
  clients: {
    argument: '',
    does: 'says who is connected now',
    options: { ...OPERATOR, json: JSON_ANSWER },
    environment: [SIGNED, SHOWN],
    more: ['Exit code 0: it was answered; 1: it was refused; 2: the call is wrong.'],
    example: 'rockpool clients --tenant acme',
  },
  verify: {
    argument: '',
    does: 'compares Postgres, row state and buckets',
    options: { ...OPERATOR, repair: 'mends what differs', cancel: 'ends one that is under way', json: JSON_ANSWER },
    environment: [SIGNED],
    more: ['Exit code 0: all is equal, or was repaired; 1: differences are left; 2: it could not be done.'],
    example: 'rockpool verify --repair',
  },
  tenants: {
    argument: 'VERB [NAME]',
    does: 'tenants of a deployment with several',
    options: {
      ...TARGET,
      data: SECRET.data,
      'database-url':
        'create, set: the database of the tenant; a secret, which a command line shows to every user of the machine',
      'jwt-secret': 'create, set: the secret of its tokens, for HS256; a secret as well',
      'jwt-audience': 'create, set: the audience of its tokens; rockpool:NAME when nothing else is said',
      'sync-config': 'create, set: its sync config, in place of the one of the script',
      setting: 'create, set: another of its settings, again and again; without =VALUE it is taken away',
      secret:
        'create, set: the secret of this name is taken from the environment variable of this name; again and again',
      secrets: 'create, set: secrets as one JSON object on standard input',
      host: 'create, set: a host of its own, again and again; none: --host ""',
      'tenant-claim': 'create, set: the claim of its tokens that must be its name',
      limit:
        'create, set: what it may use, again and again: streams=WARN:REFUSE, rowsPerDay=… or storedGb=…, either part may be left out; none: --limit streams=',
      location: 'create: the region in which its objects are created',
      jurisdiction: 'create: where its objects must run and store',
      'new-database':
        'create: makes a database for it in the embedded Postgres of rockpool dev; its tokens have the development secret when nothing else is said',
      'reuse-name': 'create: also a name that was deleted not long ago',
      user: 'revoke, unrevoke: tokens of this user (`sub`)',
      'client-id': 'revoke, unrevoke: tokens with which this device connects, by the client id that it says',
      jti: 'revoke, unrevoke: the token with this claim',
      before: 'revoke: tokens that were issued up to then; now when nothing is said',
      until: 'revoke: for how long; until the last of these tokens has expired when nothing is said',
      forever: 'revoke: whenever they were issued, until it is taken back',
      'keep-source': 'delete: slot and publication stay, for a database that cannot be reached any more',
      yes: 'asks nothing; needed where there is no terminal to ask on',
      json: JSON_ANSWER,
    },
    environment: [SHOWN],
    more: [
      'VERB is list, create, show, set, suspend, resume, delete, adopt, rotate, revoke, unrevoke,',
      'revocations or spending.',
      'create takes DATABASE_URL and JWT_SECRET from the environment when nothing else is said; set does not.',
      'adopt stores the settings of the script as the tenant default, whose objects stay.',
      'revoke refuses tokens and ends their streams; without NAME, of the tenant at the address.',
      'rotate encrypts the secrets of all tenants with the first of TENANT_KEYS.',
      'spending shows what they have used today of BUDGET_DOLLARS_DAY.',
      'Exit code 0: it was done; 1: it was refused; 2: the call is wrong. See docs/tenants.md.',
    ],
    example: 'rockpool tenants create acme --sync-config acme.yaml --secret DATABASE_URL --secret JWT_SECRET',
  },
  eval: {
    argument: 'CASE.json|FOLDER…',
    does: 'evaluates cases of rows and requests',
    options: {
      out: 'NAME.json for each case there, in place of a line',
      'as-deployed': 'as the deployed code does it',
    },
    more: ['Exit code 0: all were evaluated; 1: some could not be; 2: the call is wrong.'],
    example: 'rockpool eval cases/ --out results',
  },
  version: { argument: '', does: 'says the version', options: {}, example: 'rockpool version' },
  help: {
    argument: '[COMMAND]',
    does: 'says this, or what a command takes',
    options: {},
    example: 'rockpool help deploy',
  },
} as const satisfies Record<string, CommandDeclaration>

export type CommandName = keyof typeof COMMANDS

export const isCommand = (name: string): name is CommandName => Object.hasOwn(COMMANDS, name)

export function optionsOf(command: CommandName): { name: OptionName; declaration: OptionDeclaration; text: string }[] {
  const { options }: CommandDeclaration = COMMANDS[command]
  const names = Object.keys(options) as OptionName[]
  return names.map((name) => ({ name, declaration: OPTIONS[name], text: options[name] ?? '' }))
}
