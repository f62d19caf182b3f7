// node --expose-gc solve-loop.js COUNT: solves COUNT examples one after the other and prints the resident memory, in
// bytes, after every hundredth, as a JSON array.
import { HRM } from '#dist/index.js'
import { examples, tiny } from './fixtures.js'

const count = Number(process.argv[2])
const puzzles = examples(500)
const { signal } = new AbortController()
await using model = await HRM.create(tiny, { threads: 1 })
const resident: number[] = []
for (let at = 0; at < count; at++) {
  await model.solve(puzzles[at % puzzles.length]!, { halting: 'q', signal })
  if (at % 100 < 99) continue
  globalThis.gc!()
  resident.push(process.memoryUsage.rss())
}
console.log(JSON.stringify(resident))
