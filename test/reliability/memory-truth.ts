// node --expose-gc memory-truth.js train|solve THREADS: prints what one model says that it holds, and by how much what V8
// was told and the memory of the process shrink when it goes, in bytes, as a JSON object.
import { collect, fill, growth, makeEngine, memory, solve, train } from './memory-model.js'

const work = process.argv[2] === 'train' ? train : solve
const threads = Number(process.argv[3])

async function measure() {
  const engine = makeEngine(threads)
  await fill(engine)
  const kept = await work(engine)
  await engine.read('inner.H_init')
  await collect()
  const held = memory()
  const said = engine.bytes
  void kept
  engine.dispose()
  await collect()
  return { said, ...growth(memory(), held) }
}

// The first model of a process brings threads and compiled code with it.
await measure()
console.log(JSON.stringify(await measure()))
