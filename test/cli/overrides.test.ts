import t from 'tap'
import { describeError, Exit, exitCodeOf } from '#dist/cli/exit.js'
import { formatCount, formatDuration, formatPercent } from '#dist/cli/output.js'
import { parseOverrides } from '#dist/cli/overrides.js'
import { argumentError, errorCodes, HRMError } from '#dist/errors.js'

t.test('commands of the official README are understood', async (t) => {
  const args =
    'data_path=data/sudoku-extreme-full epochs=100 eval_interval=10 lr_min_ratio=0.1 global_batch_size=2304 lr=3e-4 puzzle_emb_lr=3e-4 weight_decay=0.1 puzzle_emb_weight_decay=0.1 arch.loss.loss_type=softmax_cross_entropy arch.L_cycles=8 arch.halt_max_steps=8 arch.pos_encodings=learned'
  t.same(parseOverrides(args.split(' ')), {
    model: { lossType: 'softmax_cross_entropy', lCycles: 8, haltMaxSegments: 8, posEncodings: 'learned' },
    train: {
      epochs: 100,
      evalInterval: 10,
      lrMinRatio: 0.1,
      globalBatchSize: 2304,
      lr: 3e-4,
      puzzleEmbLr: 3e-4,
      weightDecay: 0.1,
      puzzleEmbWeightDecay: 0.1,
    },
    run: { dataPath: 'data/sudoku-extreme-full' },
  })
})

t.test('values are read by the type of their key', async (t) => {
  const { run, train } = parseOverrides([
    '+run_name=123',
    '++project_name="two words"',
    "data_path='a=b'",
    'checkpoint_every_eval=False',
    'eval_save_outputs=[logits, "q"]',
    'seed=+7',
    'lr=1E-3',
  ])
  t.same(run, {
    runName: '123',
    projectName: 'two words',
    dataPath: 'a=b',
    checkpointEveryEval: false,
    evalSaveOutputs: ['logits', 'q'],
  })
  t.same(train, { seed: 7, lr: 1e-3 })
  t.same(parseOverrides(['arch=hrm_v1', 'run_name=null', 'eval_save_outputs=[]']).run, { evalSaveOutputs: [] })
})

t.test('what is no override, no key or no value is refused', async (t) => {
  for (const arg of ['lr', '=3', '~lr=3', '--lr 3'])
    t.throws(() => parseOverrides([arg]), { code: 'ERR_HRM_ARGUMENT' }, arg)
  for (const arg of [
    'lr=fast',
    'lr=0x10',
    'epochs=1.5',
    'epochs=',
    'arch.L_cycle=8',
    'arch=hrm_v2',
    'beta1=1',
    'seed=-1',
    'checkpoint_every_eval=1',
    'eval_save_outputs=logits',
  ])
    t.throws(() => parseOverrides([arg]), { code: 'ERR_HRM_CONFIG' }, arg)
})

t.test('every error code has an exit code, and unknown errors are failures', async (t) => {
  const expected: Record<string, number> = {
    ERR_HRM_ARGUMENT: 2,
    ERR_HRM_CONFIG: 2,
    ERR_HRM_SHAPE: 3,
    ERR_HRM_DATASET: 3,
    ERR_HRM_CHECKPOINT: 3,
    ERR_HRM_CORRUPT: 3,
    ERR_HRM_UNSAFE_PICKLE: 3,
    ERR_HRM_NO_DEVICE: 4,
    ERR_HRM_NON_FINITE: 5,
  }
  for (const code of Object.keys(errorCodes)) t.equal(exitCodeOf({ code }), expected[code] ?? 1, code)
  t.equal(exitCodeOf(new Error('x')), 1)
  t.equal(exitCodeOf(undefined), 1)
  t.equal(exitCodeOf(new Exit(6)), 6)
})

t.test('errors become one line with their code', async (t) => {
  t.equal(describeError(new HRMError('ERR_HRM_IO', '[save] no\n  space')), 'hrm: [save] no space [ERR_HRM_IO]')
  t.equal(describeError(argumentError('bad')), 'hrm: bad [ERR_HRM_ARGUMENT]')
  t.equal(describeError(new Exit(6, 'below')), 'hrm: below')
  t.equal(describeError(new Exit(6)), '')
  t.equal(describeError('text'), 'hrm: text')
})

t.test('durations, shares and counts are written for people', async (t) => {
  t.same([0, 0.4, 59, 61, 3600, 3906, 90061, Infinity].map(formatDuration), [
    '0 s',
    '0 s',
    '59 s',
    '1 min 1 s',
    '1 h',
    '1 h 5 min',
    '1 d 1 h',
    '?',
  ])
  t.same([0.9662, 1, null, undefined].map(formatPercent), ['96.6 %', '100.0 %', '-', '-'])
  t.equal(formatCount(1234567), '1,234,567')
})
