import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HRMError } from '#dist/errors.js'

/** Folder of the golden data, which is not part of the repository. */
export const golden = process.env['HRM_GOLDEN'] ?? join(import.meta.dirname, '../../../../shared/golden')

/** A `skip` option: why a test cannot run without this part of the golden data, or false. */
export function unlessGolden(part: string): false | string {
  return existsSync(join(golden, part)) ? false : `${part} is not in ${golden}`
}

/** Damaged files tried per format, more in the long form of the tests. */
export const damagedFiles = process.env['HRM_TEST_LONG'] === '1' ? 100_000 : 5000

/** The bytes of a .npy file with any header. */
export function npyBytes(header: string, data: Uint8Array, version = 1): Uint8Array {
  const length = Buffer.alloc(version === 1 ? 2 : 4)
  if (version === 1) length.writeUInt16LE(header.length)
  else length.writeUInt32LE(header.length)
  return Buffer.concat([
    Buffer.from([0x93]),
    Buffer.from('NUMPY'),
    Buffer.from([version, 0]),
    length,
    Buffer.from(header),
    data,
  ])
}

const views = {
  '|u1': (values: number[]) => Uint8Array.from(values),
  '<i4': (values: number[]) => Int32Array.from(values),
  '<i8': (values: number[]) => BigInt64Array.from(values.map(BigInt)),
}

/** The bytes of a .npy file as numpy writes it. */
export function npy(descr: keyof typeof views, shape: number[], values: number[]): Uint8Array {
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${extents}), }`.padEnd(117) + '\n'
  return npyBytes(header, new Uint8Array(views[descr](values).buffer))
}

/** A small dataset: 2 groups of 3 puzzles with 1, 2 and 3 examples of 4 tokens. */
export function smallSplit(): Record<string, Uint8Array | string> {
  const tokens = Array.from({ length: 24 }, (_, index) => 1 + (index % 5))
  return {
    'dataset.json': JSON.stringify({
      pad_id: 0,
      ignore_label_id: 0,
      blank_identifier_id: 0,
      vocab_size: 6,
      seq_len: 4,
      num_puzzle_identifiers: 4,
      total_groups: 2,
      mean_puzzle_examples: 2,
      sets: ['all'],
    }),
    'all__inputs.npy': npy('|u1', [6, 4], tokens),
    'all__labels.npy': npy('<i8', [6, 4], tokens),
    'all__puzzle_identifiers.npy': npy('<i4', [3], [1, 2, 3]),
    'all__puzzle_indices.npy': npy('<i4', [4], [0, 1, 3, 6]),
    'all__group_indices.npy': npy('<i4', [3], [0, 2, 3]),
  }
}

/** Writes a split of a dataset; returns the dataset folder. */
export function writeSplit(dir: string, split: string, files: Record<string, Uint8Array | string>): string {
  mkdirSync(join(dir, split), { recursive: true })
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, split, name), content)
  return dir
}

/** The HRMError that a promise or function ends with; fails the test otherwise. */
export async function hrmError(run: () => unknown): Promise<HRMError> {
  try {
    await run()
  } catch (error) {
    if (error instanceof HRMError) return error
    throw error
  }
  throw new Error('expected an HRMError, got success')
}
