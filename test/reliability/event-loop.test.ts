import { availableParallelism } from 'node:os'
import { test } from 'tap'
import { measureEventLoop, phases } from '../../bench/event-loop.js'
import { figure, long } from './figures.js'

test('timers and files go on while a model works, nearly as beside threads that only spin', async (t) => {
  const lags = await measureEventLoop(availableParallelism(), long ? 15 : 0.8, long ? 5 : 1)
  t.same(
    lags.map(({ phase }) => phase),
    phases,
  )
  const of = (name: string) => lags.find(({ phase }) => phase === name)!
  const control = of('control')
  for (const { phase, tickShare, readFileMs, done } of [of('training'), of('solving')]) {
    t.ok(done > 0, `${done} steps or solves`)
    // How late is a matter of the machine (npm run bench -- reliability); an event loop that waits for a step or a
    // segment gets no more than a hundredth of the control's ticks.
    t.ok(tickShare > control.tickShare / 5, `${phase}: ${tickShare} of the ticks, control ${control.tickShare}`)
    t.ok(readFileMs < 20 * control.readFileMs, `${phase}: a file takes ${readFileMs} ms, control ${control.readFileMs}`)
  }
  figure(
    t,
    'event-loop',
    Object.fromEntries(
      lags.flatMap(({ phase, p99Ms, maxMs, readFileMs }) => [
        [`${phase} p99 lag ms`, p99Ms.toFixed(2)],
        [`${phase} max lag ms`, maxMs.toFixed(1)],
        [`${phase} readFile ms`, readFileMs.toFixed(3)],
      ]),
    ),
  )
})
