import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { SETTINGS } from '../tenants/declarations.ts'
import type { Setting } from '../protocol/settings.ts'

const HEAD = `# Settings

Every setting of Rockpool. This page is made from their declaration (\`tenants/declarations.ts\`); \`npx vitest run docs/settings.test.ts -u\` writes it.

A setting is a variable of the script: \`[vars]\` of \`wrangler.toml\`, or \`npx wrangler secret put NAME\` for a secret. \`rockpool dev\`, \`check\`, \`deploy\`, \`deploys\`, \`rollback\`, \`status\`, \`verify\` and
\`token\` take settings from these places, the first that has one wins:

1. an option of the command: \`--database-url\`, \`--jwt-secret\`, \`--jwt-audience\`
2. the environment; an empty variable counts as none
3. \`[vars]\` of the \`wrangler.toml\` of the current folder, or of Rockpool's own

\`rockpool dev\` with a database that is not its own takes \`SLOT\` and \`OWN_PUBLICATION\` from the environment alone, and has its own without:
[on this machine](deploy.md#on-this-machine). Its \`IDLE_POLL_MAX_SECONDS\` is 60 unless a setting of polls is given.

A value that is not valid is \`ROCKPOOL_SETTINGS\` with the name of each; keys and tokens are \`PSYNC_S2201\`. \`rockpool check\` and \`dev\` say so before anything is started, and report a name that is nearly that of
a setting (\`setting-unknown\`).

\`SOURCE_BINDING\` is no text: it is a binding with \`connect()\`, by which the database [is reached](deploy.md#through-a-binding).

| setting | default | must be | |
| --- | --- | --- | --- |
`

function row(name: string, { preset, required, check, about }: Setting<unknown>): string {
  const shown = required ? 'required' : preset === undefined ? '' : `\`${String(preset)}\``
  return `| \`${name}\` | ${shown} | ${check.form} | ${about} |\n`
}

test('the page lists what is declared', async () => {
  const rows = Object.entries(SETTINGS).map(([name, setting]) => row(name, setting))
  expect(rows.length).toBeGreaterThan(40)
  await expect(HEAD + rows.join('')).toMatchFileSnapshot('./settings.md')
})

test.each(['operations.md', 'deploy.md'])('defaults in the tables of %s are those that are declared', async (file) => {
  const text = await readFile(new URL(file, import.meta.url), 'utf8')
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| `?([\w-]+)`? \|/gm)]
  const told = rows.flatMap(([, name = '', value = '']) => {
    const setting: Setting<unknown> | undefined = new Map<string, Setting<unknown>>(Object.entries(SETTINGS)).get(name)
    return setting?.preset === undefined ? [] : [[name, value, String(setting.preset)]]
  })
  expect(told.length).toBeGreaterThan(4)
  expect(told.filter(([, value, declared]) => value !== declared)).toEqual([])
})
