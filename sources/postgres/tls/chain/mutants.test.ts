import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import type { verifyChain } from './index.ts'
import { outcome } from './test-cases.ts'
import { nameCases } from './test-cases-names.ts'
import { pathCases } from './test-cases-path.ts'
import { ruleCases } from './test-cases-rules.ts'

// Each check is removed in turn, and a case must notice. When you change a check, change its line here.
const MUTANTS: [what: string, file: string, from: string, to: string][] = [
  ['expiry', 'rules.ts', '!(second <= notAfter)', 'false'],
  ['expiry by parts of seconds', 'rules.ts', 'Math.floor(now / 1000) * 1000', 'now'],
  ['the first day', 'rules.ts', '!(second >= notBefore)', 'false'],
  ['keys', 'rules.ts', 'key.problem !== null', 'false'],
  ['critical extensions', 'rules.ts', 'extensions.notFollowed.length > 0', 'false'],
  ['authority flag', 'rules.ts', '!extensions.basic?.ca)', 'false)'],
  ['keyCertSign', 'rules.ts', 'extensions.keyUsage && !extensions.keyUsage.keyCertSign', 'false'],
  ['digitalSignature', 'rules.ts', 'extensions.keyUsage && !extensions.keyUsage.digitalSignature', 'false'],
  ['usages of authorities', 'rules.ts', '!anchor) checkUsage', 'false) checkUsage'],
  ['usages of anchors that are no roots', 'rules.ts', '!anchor) checkUsage', 'true) checkUsage'],
  ['serverAuth', 'rules.ts', '!usages.includes(SERVER_AUTH) || ', ''],
  ['any usage', 'rules.ts', ' || usages.includes(ANY_USAGE)', ''],
  ['usages of roots', 'profile.ts', 'if (extendedKeyUsage) form', 'if (false) form'],
  ['roots with the key of another', 'profile.ts', 'if (authorityKey?.keyId && ', 'if (false && '],
  ['authority as server', 'rules.ts', 'extensions.basic?.ca || extensions.keyUsage?.keyCertSign', 'false'],
  ['server that may sign', 'rules.ts', ' || extensions.keyUsage?.keyCertSign', ''],
  ['name constraints of a server', 'rules.ts', 'if (extensions.constraints)', 'if (false)'],
  ['serial number 0', 'profile.ts', 'serial.every((byte) => byte === 0)', 'false'],
  ['issuer', 'rules.ts', 'isEmpty(leaf.issuer)', 'false'],
  ['policies', 'extensions.ts', 'into.notFollowed.push(oid)', ''],
  ['critical usages', 'profile.ts', 'leaf.extensions.extendedKeyUsage?.critical', 'false'],
  ['critical alternative names', 'profile.ts', 'extensions.alternativeNames && extensions', 'false && extensions'],
  ['path length of a server', 'rules.ts', 'extensions.basic?.pathLength !== undefined', 'false'],
  ['profile of servers', 'rules.ts', 'checkServerProfile(leaf)\n', ''],
  ['profile of authorities', 'rules.ts', 'checkAuthorityProfile(authority, anchor)', ''],
  ['signatures', 'path.ts', 'certificate.x509.verify(issuer.x509.publicKey)', 'true'],
  ['kinds of signatures', 'path.ts', 'checkSignatureKind(top.signature, top.who)', ''],
  ['rules of authorities', 'path.ts', 'checkAuthority(issuer, anchor, now)', ''],
  ['path length', 'path.ts', 'between > (authority.extensions.basic?.pathLength ?? Infinity)', 'false'],
  ['path length for what renews itself', 'path.ts', '!isSelfIssued(authority) && ++between', '++between'],
  ['length of a path', 'path.ts', 'path.length === MAX_PATH', 'false'],
  ['number of signatures', 'path.ts', '++checks > MAX_SIGNATURE_CHECKS', 'false'],
  ['name constraints', 'path.ts', 'checkNames(constraints,', 'void (constraints,'],
  ['going back', 'path.ts', 'if (found !== null) return found', 'return found'],
  ['every anchor', 'path.ts', 'anchors.filter(isTop)', 'anchors.filter(isTop).slice(0, 1)'],
  ['every intermediate', 'path.ts', '[...known, ...sent]', '[...known, ...sent.slice(0, 1)]'],
  ['unknown roots', 'path.ts', '!anchor && isSelfIssued(issuer)', 'false'],
  ['permitted names', 'constraints.ts', 'permitted.some((each) => within(name, each))', 'true'],
  ['excluded names', 'constraints.ts', 'excluded.some((each) => touches(name, each))', 'false'],
  ['names that are not compared', 'constraints.ts', 'isComparable(name) &&', ''],
  ['wildcards that take in', 'constraints.ts', ' || isSubdomain(base.value.toLowerCase(), plain(name.value))', ''],
  ['ends of labels', 'constraints.ts', 'host.endsWith(`.${base}`)', 'host.endsWith(base)'],
  ['constrained subjects', 'constraints.ts', 'isEmpty(subject) ? [...names]', 'true ? [...names]'],
  ['e-mail in a subject', 'constraints.ts', 'email && hasEmail(subject)', 'false'],
  ['constrained hosts', 'constraints.ts', '!isHostName(name.value.toLowerCase())', 'false'],
  ['masks', 'constraints.ts', "!bits.includes('01')", 'true'],
  ['loose excluded subjects', 'constraints.ts', 'mayBeBelow(name.name, base.name)', 'isBelow(name.name, base.name)'],
  ['the server’s name', 'index.ts', "mode !== 'ca'", 'false'],
  ['pins', 'index.ts', 'checkPin(leaf, now)', ''],
  ['the server’s own rules', 'index.ts', 'checkLeaf(leaf, now)', ''],
  ['number of certificates', 'index.ts', 'chain.length > MAX_CHAIN_CERTIFICATES || ', ''],
  ['our reading of names', 'server-name.ts', '!names.some((name) => isFor(name, wanted)) || ', ''],
  ['CN of another host', 'server-name.ts', 'profile && stray !== undefined', 'false'],
  ['wildcards of strangers', 'hosts.ts', ' || SHARED.has(base)', ''],
  ['wildcards below co.uk', 'hosts.ts', ' || SECOND_LEVEL.test(base)', ''],
  ['RSA of few bits', 'keys.ts', 'length < MIN_RSA_BITS', 'false'],
  ['RSA of many bits', 'keys.ts', 'length > MAX_RSA_BITS', 'false'],
  ['powers of RSA', 'keys.ts', 'odd === 1 &&', ''],
  ['weak hashes', 'keys.ts', 'if (SIGNATURES.has(digitsOf(algorithm))) return', 'return'],
  ['two kinds of signature', 'certificate.ts', '!sameBytes(signature.whole, outerSignature.whole)', 'false'],
  ['another certificate inside', 'certificate.ts', '!sameBytes(x509.raw, der)', 'false'],
  ['serial numbers', 'certificate.ts', 'digits > 20 ||', ''],
  ['extensions of version 2', 'certificate.ts', 'extended !== undefined && version !== 3', 'false'],
  ['extensions twice', 'extensions.ts', 'seen.has(oid)', 'false'],
  ['ends of extensions', 'extensions.ts', '      value.end()\n', ''],
  ['number of names', 'der.ts', 'found.length === limit', 'false'],
]

const folder = fileURLToPath(new URL('.', import.meta.url))

/** `verifyChain` with one piece of its source replaced. */
async function mutant(file: string, from: string, to: string): Promise<typeof verifyChain> {
  const source = readFileSync(folder + file, 'utf8')
  expect(source.split(from).length, `"${from}" is in ${file} once`).toBe(2)
  const { outputFiles } = await build({
    entryPoints: [`${folder}index.ts`],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutant',
        setup: ({ onLoad }) =>
          onLoad({ filter: /\.ts$/ }, ({ path }) =>
            path === folder + file ? { contents: source.replace(from, () => to), loader: 'ts' } : null,
          ),
      },
    ],
  })
  const module: { exports: { verifyChain?: typeof verifyChain } } = { exports: {} }
  new Function('module', 'exports', 'require', outputFiles[0]?.text ?? '')(
    module,
    module.exports,
    createRequire(import.meta.url),
  )
  if (module.exports.verifyChain === undefined) throw new Error('the mutant has no verifyChain')
  return module.exports.verifyChain
}

const cases = [...ruleCases(), ...nameCases(), ...pathCases()]

/** A case that comes out otherwise; whatever else is thrown counts as well. */
function noticed(verify: typeof verifyChain): string | undefined {
  return cases.find(({ options, expected }) => {
    try {
      return outcome(options, verify) !== expected
    } catch {
      return true
    }
  })?.name
}

test('all cases pass when no check is removed', async () => {
  expect(
    noticed(await mutant('index.ts', 'export function verifyChain', 'export function verifyChain')),
  ).toBeUndefined()
})

test.each(MUTANTS)('without %s a case has another outcome', async (_, file, from, to) => {
  expect(noticed(await mutant(file, from, to))).toBeDefined()
})
