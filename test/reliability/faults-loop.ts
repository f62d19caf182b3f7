// node faults-loop.js FIRST STRIDE THREADS once|onward: lets the n-th allocation of a small run fail, or each from the n-th
// on, for n = FIRST, FIRST + STRIDE, … until a run is through without; after each failure a run without. Prints a JSON object.
import { complaint, loadFaultyAddon, smallRun } from './faults-addon.js'

const [first = NaN, stride = NaN, threads = NaN] = process.argv.slice(2, 5).map(Number)
const onward = process.argv[5] === 'onward'
const addon = loadFaultyAddon()
const usual = await smallRun(addon, threads)
const problems: string[] = []
let failures = 0
let survived = 0
let calls = 0
for (let n = first; ; n += stride) {
  console.error(n) // the last line before a crash
  addon.faults.arm('memory', 'bad_alloc', n, onward)
  let outcome: string | undefined
  try {
    const digest = await smallRun(addon, threads)
    if (digest !== usual) outcome = 'other bytes'
    survived++
  } catch (error) {
    outcome = complaint(error, 'bad_alloc')
    failures++
  }
  const count = addon.faults.disarm()
  if (outcome !== undefined) problems.push(`${n}: ${outcome}`)
  if (count.fired === 0) {
    calls = count.calls
    survived--
    break
  }
  if ((await smallRun(addon, threads)) !== usual) problems.push(`${n}: other bytes in the run after`)
}
console.log(JSON.stringify({ calls, failures, survived, problems }))
