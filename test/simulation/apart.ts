import { inProcess } from '../support/mutations.ts'
import type { Report, Task } from './run.ts'

/** Runs schedules in a process of their own. */
export const runApart = (task: Task): Promise<Report> => inProcess(new URL('./run.ts', import.meta.url), task)
