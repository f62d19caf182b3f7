// node --expose-gc memory-dropped.js COUNT: makes, fills and uses COUNT models, disposing of none, and prints by how much
// the process has grown since the first ones, and what V8 was told of the one that is kept, in bytes, as a JSON object.
import { collect, fill, growth, makeEngine, memory, solve } from './memory-model.js'

const count = Number(process.argv[2])

async function makeAndDrop(): Promise<number> {
  const engine = makeEngine(1)
  await fill(engine)
  await solve(engine)
  return engine.bytes
}

let bytes = 0
for (let i = 0; i < 10; i++) bytes = await makeAndDrop()
await collect()
const before = memory()
let peak = 0
for (let i = 0; i < count; i++) {
  await makeAndDrop()
  peak = Math.max(peak, memory().resident - before.resident)
}
await collect()
const after = memory()
const kept = makeEngine(1)
await fill(kept)
const session = await solve(kept)
await collect()
console.log(
  JSON.stringify({
    bytes,
    peak,
    grown: growth(before, after),
    kept: kept.bytes,
    grownByKept: growth(after, memory()),
  }),
)
void session
kept.dispose()
