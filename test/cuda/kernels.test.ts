// Runs hrm_cuda_kernels (test/cuda/*.cc, *.cu): the CUDA kernels on the CPU, against references in double.
import { execFile, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test, type Test } from 'tap'

const root = fileURLToPath(new URL('../../..', import.meta.url))
/** Seconds of one core each, minutes where it is shared. */
const slow = { timeout: 580_000 }

async function run(command: string, argv: string[], environment: NodeJS.ProcessEnv = {}) {
  return new Promise<{ status: number | string; lines: string[] }>((resolve) => {
    const options = { env: { ...process.env, ...environment }, maxBuffer: 2 ** 26 }
    execFile(command, argv, options, (error, stdout, stderr) => {
      resolve({ status: error ? (error.code ?? 'killed') : 0, lines: (stdout + stderr).trim().split('\n') })
    })
  })
}

async function expectAllOk(t: Test, environment: NodeJS.ProcessEnv, ...cases: string[]) {
  const { status, lines } = await run(join(root, 'build', 'Release', 'hrm_cuda_kernels'), cases, environment)
  t.strictSame(
    lines.filter((line) => !line.startsWith('ok ')),
    [lines.at(-1)],
  )
  t.match(lines.at(-1), /^[1-9]\d* passed, 0 failed$/)
  t.equal(status, 0)
}

test('every kernel agrees with its reference and writes nothing else', slow, async (t) => {
  await expectAllOk(t, {})
})

test('the order in which threads run changes nothing', slow, async (t) => {
  await expectAllOk(t, { HRM_CUDA_HOST_SEED: '20250626' })
})

test('attention fits into the shared memory of consumer GPUs', slow, async (t) => {
  // Compute capability 8.6, 8.9 and 12.0: 99 KiB a block (CUDA C++ Programming Guide, technical specifications).
  await expectAllOk(t, { HRM_CUDA_HOST_SHARED_MEMORY: String(99 * 1024) }, 'attention')
})

test('faults planted in kernels are caught', slow, async (t) => {
  const { status, lines } = await run(process.execPath, [join(root, 'scripts/cuda-mutants.mjs'), '--short'])
  const [, caught, planted] = /^(\d+) of (\d+) mutants caught$/.exec(lines.at(-1) ?? '') ?? []
  t.ok(Number(planted) >= 4 && caught === planted, lines.join('\n'))
  t.equal(status, 0)
})

const compiler = process.env['NVCC'] ?? 'nvcc'
const noCompiler = spawnSync(compiler, ['--version']).error ? `no ${compiler}` : false

test(
  'the compile gate refuses spills, local memory and too many registers',
  { ...slow, skip: noCompiler },
  async (t) => {
    const folder = t.testdir({})
    const files = {
      'spill.cu': `__global__ void __launch_bounds__(1024, 2) spilling(float* p) {
      float a[64];
      #pragma unroll
      for (int i = 0; i < 64; ++i) a[i] = p[i * 1024 + threadIdx.x];
      __syncthreads();
      #pragma unroll
      for (int i = 0; i < 64; ++i) p[(63 - i) * 1024 + threadIdx.x] = a[i] * a[(i + 7) % 64];
    }`,
      'local.cu': `__global__ void indexing(float* p, const int* k) {
      float a[64];
      for (int i = 0; i < 64; ++i) a[i] = p[i];
      for (int i = 0; i < 64; ++i) a[k[i]] += a[k[i + 1]];
      for (int i = 0; i < 64; ++i) p[i] = a[i];
    }`,
      'unknown.cu': '__global__ void unknown(float* p) { p[threadIdx.x] = 1; }',
    }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
    const paths = Object.keys(files).map((name) => join(folder, name))
    const gate = join(root, 'scripts/check-cuda.mjs')
    const { status, lines } = await run(process.execPath, [gate, '--arch=sm_90a', ...paths])
    const output = lines.join('\n')
    t.equal(status, 1)
    t.equal(lines.at(-1), '0 passed, 3 failed, 0 skipped')
    t.match(output, /Registers are spilled to local memory in function '_Z8spillingPf'/)
    t.match(output, /Local memory used for function '_Z8indexingPfPKi'/)
    t.match(output, /unknown: \d+ registers, budget none/)
  },
)
