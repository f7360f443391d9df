import { inThread as reportOf } from '../support/mutations.ts'
import type { Report, Task } from './run.ts'

/** Runs schedules in a thread of their own. */
export const inThread = (task: Task): Promise<Report> => reportOf(new URL('./run.ts', import.meta.url), task)
