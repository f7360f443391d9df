/**
 * Returns what to use instead of the address of a known host's connection pooler, or null for any other address.
 * Unknown poolers are detected after connecting. A pooler does not pass on replication, or not reliably.
 */
export function poolerAdvice({ host, port }: { host: string; port: number }): string | null {
  const name = host.toLowerCase()
  if (name.endsWith('.pooler.supabase.com')) {
    return `${host} is Supabase's pooler, on both of its ports: use the direct connection (db.PROJECT.supabase.co:5432, user postgres); it has only IPv6, unless the IPv4 add-on is on`
  }
  if (/\.supabase\.(co|com)$/.test(name) && port === 6543) return 'port 6543 of Supabase is its pooler: use port 5432'
  if (/-pooler\./.test(name) && /\.neon\.(tech|build)$/.test(name)) {
    return `${host} is Neon's pooler: use ${host.replace('-pooler.', '.')}, or turn "Connection pooling" off in its dashboard`
  }
  if (name.endsWith('.ondigitalocean.com') && port === 25061)
    return "port 25061 of DigitalOcean is its pooler: use port 25060 and the database's own name"
  if (/\.(postgresbridge|crunchybridge)\.com$/.test(name) && port === 5431)
    return 'port 5431 of Crunchy Bridge is its PgBouncer: use port 5432'
  if (name.endsWith('.postgres.database.azure.com') && port === 6432)
    return 'port 6432 of Azure is its PgBouncer: use port 5432'
  if (/\.proxy-[^.]+\.[^.]+\.rds\.amazonaws\.com(\.cn)?$/.test(name))
    return `${host} is an RDS Proxy: use the endpoint of the instance or the cluster`
  if (/\.cluster-ro-[^.]+\.[^.]+\.rds\.amazonaws\.com(\.cn)?$/.test(name))
    return `${host} is the reader endpoint of Aurora: use the writer's`
  if (name.endsWith('.hyperdrive.local')) return 'Hyperdrive pools connections: use the URL of the database itself'
  return null
}

/** The answers of poolers to a client that asks for replication or for its own settings. */
const REFUSALS = [
  /unsupported startup parameter/i, // PgBouncer, Odyssey
  /unsupported (startup )?option/i,
  /unsupported command-line option/i, // RDS Proxy
  /no such database: /i, // PgBouncer
  /pgbouncer cannot connect/i,
  /replication (connections?|is|mode).*not supported/i,
  /server_login_retry|query_wait_timeout|client_login_timeout/i,
  /tenant or user not found|tenant\/user .* not found/i, // Supavisor
  /prepared statement ".*" (does not exist|already exists)/i,
]

export function isPoolerRefusal(message: string): boolean {
  return REFUSALS.some((refusal) => refusal.test(message))
}
