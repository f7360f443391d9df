import { resolve } from 'node:path'
import type { ErrorBody } from '../protocol/errors.ts'
import { jsonOrNull } from '../protocol/json.ts'
import { DEFAULT_AUDIENCE, DEFAULT_DATA, DEFAULT_PORT, parse, tenantOf, type Parsed } from './options.ts'
import { UsageError } from './problem.ts'
import { Refused } from './refused.ts'
import { knownSecret, signToken } from './secret.ts'
import { readSettings, textOf } from './settings.ts'
import { otherServer, unreachable } from './unanswered.ts'

export const DEV_URL = `http://127.0.0.1:${DEFAULT_PORT}`
const TOKEN_SECONDS = 3_600
/** A deploy counts the rows of tables before it answers, so it takes longer. */
const ANSWER_MS = 120_000
/** The longest token that the server accepts. */
const MAX_TOKEN_CHARACTERS = 32 * 1024
const TOKEN_TEXT = /^[\x21-\x7e]+$/

export interface OperatorOptions {
  positionals: string[]
  url: string
  /**
   * `-` reads it from standard input. When absent, one is signed with the development secret, unless `access` is there.
   */
  token: string | undefined
  /** A service token of Cloudflare Access, as the headers in which it is sent. */
  access: Readonly<Record<string, string>> | null
  yes: boolean
  json: boolean
  dryRun: boolean
  force: boolean
  repair: boolean
  cancel: boolean
  withdraw: boolean
  watch: boolean
  /** The number of a deploy. */
  to: number | undefined
  data: string
  jwtSecret: string | undefined
  /** When absent, as with the secret, the settings decide. */
  jwtAudience: string | undefined
}

export type OperatorCommand = 'clients' | 'deploy' | 'deploys' | 'rollback' | 'status' | 'verify'

/** Where a command of an operator goes, and with which token; without one, it is signed with a secret. */
export type OperatorTarget = Pick<OperatorOptions, 'url' | 'token' | 'access' | 'jwtSecret' | 'jwtAudience' | 'data'>

type Environment = Readonly<Record<string, string | undefined>>

/** Throws UsageError. */
export function operatorTarget(
  { text }: Pick<Parsed, 'text'>,
  env: Environment,
  { address, jwtSecret }: { address?: string | undefined; jwtSecret?: string | undefined } = {},
): Pick<OperatorTarget, 'url' | 'token' | 'access' | 'data'> {
  const url = text('url') ?? address ?? (env.ROCKPOOL_URL || DEV_URL)
  checkUrl(url)
  const token = (text('token') ?? env.ROCKPOOL_TOKEN)?.trim() || undefined
  const access = accessHeaders(env)
  if (token === undefined && jwtSecret === undefined && access === null && !isLoopback(url)) {
    throw new UsageError(
      '--token is missing: put a token with the claim "operator": true into ROCKPOOL_TOKEN, or say --token - and give it on standard input',
    )
  }
  return { url: url.replace(/\/+$/, ''), token, access, data: text('data') ?? (env.DATA || DEFAULT_DATA) }
}

/** Access takes a service token in these headers, and puts its assertion in their place (Cloudflare, 2026-11). */
function accessHeaders({
  ROCKPOOL_ACCESS_ID: id,
  ROCKPOOL_ACCESS_SECRET: secret,
}: Environment): OperatorTarget['access'] {
  if (!id && !secret) return null
  if (!id || !secret)
    throw new UsageError(
      'a service token of Access has two parts: set both ROCKPOOL_ACCESS_ID and ROCKPOOL_ACCESS_SECRET',
    )
  const headers = { 'cf-access-client-id': id.trim(), 'cf-access-client-secret': secret.trim() }
  if (!Object.values(headers).every((value) => TOKEN_TEXT.test(value)))
    throw new UsageError('ROCKPOOL_ACCESS_ID or ROCKPOOL_ACCESS_SECRET has characters that no service token has')
  return headers
}

/** Returns the address of a tenant: that of the deployment when none is named. */
const tenantUrl = (url: string, tenant: string | undefined): string =>
  tenant === undefined ? url : `${url}/t/${tenant}`

/**
 * Reads the options of commands that use `/admin`. Address and token default to those of `rockpool dev`. The one
 * argument of `status` is the address. Throws UsageError.
 */
export function operatorOptions(command: OperatorCommand, args: readonly string[], env: Environment): OperatorOptions {
  const parsed = parse(command, args)
  const { positionals, text, flag } = parsed
  const urlFirst = command === 'status'
  if (urlFirst && positionals.length + (text('url') === undefined ? 0 : 1) > 1) throw new UsageError('name one address')
  const jwtSecret = text('jwt-secret') ?? (env.JWT_SECRET || undefined)
  const target = operatorTarget(parsed, env, { address: urlFirst ? positionals[0] : undefined, jwtSecret })
  return {
    ...target,
    positionals,
    url: tenantUrl(target.url, tenantOf(parsed, env)),
    jwtSecret,
    yes: flag('yes'),
    json: flag('json'),
    dryRun: flag('dry-run'),
    force: flag('force'),
    repair: flag('repair'),
    cancel: flag('cancel'),
    withdraw: flag('withdraw'),
    watch: flag('watch'),
    to: deployNumber(text('to')),
    jwtAudience: text('jwt-audience') ?? (env.JWT_AUDIENCE || undefined),
  }
}

function deployNumber(text: string | undefined): number | undefined {
  if (text === undefined || /^[1-9][0-9]{0,8}$/.test(text)) return text === undefined ? undefined : Number(text)
  throw new UsageError(`--to ${text} is not the number of a deploy: rockpool deploys lists them`)
}

/**
 * Refuses plain HTTP to other machines: anyone who reads the token may do what an operator may, with all rows of the
 * database.
 */
function checkUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !/^https?:$/.test(url.protocol)) throw new UsageError('--url must begin with https:// or http://')
  if (url.username !== '' || url.password !== '')
    throw new UsageError('--url must have no user or password; the token says who you are')
  if (url.protocol === 'https:' || isLoopback(text)) return
  throw new UsageError(`the operator's token would go to ${url.host} in plain text: --url must begin with https://`, {
    code: 'ROCKPOOL_PLAIN_HTTP',
  })
}

function isLoopback(text: string): boolean {
  const { hostname } = new URL(text)
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

export type AdminMethod = 'GET' | 'PUT' | 'PATCH' | 'POST' | 'DELETE'

export interface AskOptions {
  answerMs?: number
  headers?: Record<string, string>
}

/** For a body that is the text of a sync config. */
export const AS_YAML: AskOptions = { headers: { 'content-type': 'application/yaml' } }

/** Calls `/admin`. */
export class OperatorClient {
  readonly #url: string
  /** The headers that say who asks: a token, a service token of Access, or both. */
  readonly #credentials: Readonly<Record<string, string>>
  readonly #signedWith: string | null

  private constructor(url: string, credentials: Readonly<Record<string, string>>, signedWith: string | null) {
    this.#url = url
    this.#credentials = credentials
    this.#signedWith = signedWith
  }

  /**
   * Throws UsageError when there is no server or no Rockpool at the address, and when there is no token and no secret
   * to sign one.
   */
  static async of({ url, token, access, jwtSecret, jwtAudience, data }: OperatorTarget): Promise<OperatorClient> {
    let signedWith: string | null = null
    const signed = async () => {
      // Only now, because reading wrangler.toml takes a second.
      const given = jwtSecret !== undefined && jwtAudience !== undefined ? {} : await readSettings(process.env)
      const folder = resolve(data)
      const named = jwtSecret ?? textOf(given, 'JWT_SECRET')
      const secret = named ?? (await secretOf(folder, url))
      signedWith = named === undefined ? `the secret in ${folder}` : 'JWT_SECRET'
      const audience = jwtAudience ?? textOf(given, 'JWT_AUDIENCE') ?? DEFAULT_AUDIENCE
      return signToken({ sub: 'operator', ttlSeconds: TOKEN_SECONDS, claims: { operator: true } }, secret, audience)
    }
    if (token === undefined && jwtSecret === undefined && access !== null) return new OperatorClient(url, access, null)
    const used = token === '-' ? await tokenFromInput(process.stdin) : (token ?? (await signed()))
    if (!TOKEN_TEXT.test(used)) throw new UsageError('the token has characters that no token has: is it complete?')
    return new OperatorClient(url, { authorization: `Token ${used}`, ...access }, signedWith)
  }

  /** Throws Refused for an error of the server, UsageError when there is no server. */
  async ask<T>(
    method: AdminMethod,
    path: string,
    body?: string,
    { answerMs = ANSWER_MS, headers = {} }: AskOptions = {},
  ): Promise<T> {
    const { response, text } = await fetched(`${this.#url}/admin/${path}`, {
      method,
      // A page of another origin cannot say these without asking first, and is told no.
      headers: {
        ...this.#credentials,
        'x-rockpool-admin': '1',
        'content-type': 'application/json',
        ...headers,
      },
      signal: AbortSignal.timeout(answerMs),
      ...(method === 'GET' ? {} : { body: body ?? '{}' }),
    })
    const answer = json(text)
    if (answer?.error) throw new Refused(answer.error, this.#signedWith)
    if (!response.ok || !answer || !('data' in answer)) {
      throw new UsageError(`${this.#url} ${otherServer(response, `/admin/${path.replace(/\?.*/, '')}`, text)}`)
    }
    return answer.data as T
  }
}

/** Throws UsageError when there is no server. */
async function fetched(address: string, init: RequestInit): Promise<{ response: Response; text: string }> {
  try {
    // Rockpool never redirects, and the token is only for this address.
    const response = await fetch(address, { ...init, redirect: 'manual' })
    return { response, text: await response.text() }
  } catch (error) {
    const local = isLoopback(address) ? '; is rockpool dev running?' : ''
    throw new UsageError(`${new URL(address).origin} cannot be reached: ${unreachable(error)}${local}`, {
      cause: error,
    })
  }
}

const PROBE = '/probes/liveness'
const PROBE_MS = 5_000

/**
 * Returns the secret of the data folder. When there is none, the address is checked first, because the cause may be a
 * wrong port. Throws UsageError.
 */
async function secretOf(folder: string, url: string): Promise<string> {
  try {
    return await knownSecret(folder)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const { response, text } = await fetched(`${url}${PROBE}`, { signal: AbortSignal.timeout(PROBE_MS) })
    if (!response.ok || !('data' in (json(text) ?? {})))
      throw new UsageError(`${url} ${otherServer(response, PROBE, text)}`)
    throw new UsageError(`${error.message}. If JWT_SECRET was set where that Rockpool was started, set it here too`)
  }
}

/**
 * Reads the token from the first line of standard input. On the command line every user of the machine could read it.
 */
export async function tokenFromInput(input: AsyncIterable<Buffer | string>): Promise<string> {
  if (process.stdin.isTTY) process.stderr.write('token: ')
  let text = ''
  for await (const chunk of input) {
    text += chunk.toString()
    if (text.includes('\n') || text.length > MAX_TOKEN_CHARACTERS) break
  }
  const token = text.split('\n')[0]?.trim() ?? ''
  if (token === '' || token.length > MAX_TOKEN_CHARACTERS)
    throw new UsageError('--token - : there is no token on standard input')
  return token
}

function json(text: string): { data?: unknown; error?: ErrorBody } | null {
  const value = jsonOrNull(text)
  return typeof value === 'object' && value !== null ? value : null
}
