import { schedule } from './schedule.ts'
const [from, to] = [Number(process.argv[2]), Number(process.argv[3])]
const start = process.cpuUsage()
let [checkpoints, steps, bad] = [0, 0, 0]
for (let seed = from; seed < to; seed++) {
  const outcome = await schedule(seed)
  checkpoints += outcome.checkpoints
  steps += outcome.steps
  if (outcome.violation !== null && bad++ < 5) console.log(seed, outcome.violation)
}
const { user, system } = process.cpuUsage(start)
console.log(JSON.stringify({ schedules: to - from, checkpoints, steps, bad, ms: (user + system) / 1000 / (to - from) }))
