/** What the Worker of the probe answers, as JSON. Times are in milliseconds. */
export interface CallsAnswer {
  /** Until all of the calls had answered. */
  total: number
}

export interface WritesAnswer {
  /** Of calls that write nothing, and of calls that write one row: their answers wait until it is confirmed. */
  idle: number[]
  writing: number[]
}

/** Of an object. */
export interface InstanceAnswer {
  /** Another one after the object was thrown out of memory. */
  instance: string
  /** Of the code that it runs. */
  version: string
  sockets: number
}

export interface AlarmAnswer {
  /** Calls of other objects that have answered. */
  calls: number
  ended: boolean
  /** Why it ended before all of them had. */
  error: string | null
}
