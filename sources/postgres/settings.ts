/** The settings of a tenant that this kind reads. They are declared in `tenants/declarations.ts`. */
export interface PostgresSettings {
  slot: string
  /** A publication that exists and is not changed. */
  publication?: string | undefined
  ownPublication: string
  publicationColumns: 'all' | 'read'
  walPolicy: 'keep' | 'drop-and-resync'
  walKeepGb: number
  /** Certificates in PEM. */
  databaseCa?: string | undefined
}
