/**
 * Something that the deployed script would refuse, or that its operator should know. It never shows the value of a
 * secret.
 */
export interface SettingFinding {
  level: 'error' | 'warning'
  code: string
  message: string
}
