/** What the deployed script would refuse, or what its operator should know. Never shows the value of a secret. */
export interface SettingFinding {
  level: 'error' | 'warning'
  code: string
  message: string
}
