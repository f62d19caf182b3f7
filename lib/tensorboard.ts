import { open, readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Type } from 'protobufjs'
import { AppendFile } from './append-file.js'
import { crc32c } from './crc32c.js'
import { fileError, makeFolder } from './durable-folder.js'
import type { EvalSets } from './evaluate.js'
import type { TrainEvent } from './train-run.js'

/** The part of TensorBoard's format that is written here; numbers and types are those of event.proto and summary.proto. */
const proto = `
syntax = "proto3";

message Event {
  double wall_time = 1;
  int64 step = 2;
  oneof what {
    string file_version = 3;
    Summary summary = 5;
    SessionLog session_log = 7;
  }
}

message Summary {
  repeated Value value = 1;

  message Value {
    string tag = 1;
    oneof content {
      float simple_value = 2;
    }
  }
}

message SessionLog {
  int32 status = 1;
}
`

/** SessionStatus.START: what came before with this step or a later one does not count. */
const sessionStart = 1

/** Values by tag; null where nothing was counted. */
type Scalars = Record<string, number | null>

/** `seconds since 1970` in the name of a file of events. */
const fileName = /^events\.out\.tfevents\.(\d{10})\./

function named(prefix: string, values: Readonly<Scalars>): Scalars {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}/${name}`, value]))
}

function scores(prefix: string, sets: EvalSets): Scalars {
  return Object.assign({}, ...Object.entries(sets).map(([set, metrics]) => named(`${prefix}/${set}`, { ...metrics })))
}

/** What TensorBoard shows of an event. */
function scalars(event: TrainEvent): Scalars {
  if (event.type === 'step') {
    const { loss, lr, gradNorm: grad_norm, itPerSecond: it_per_second, metrics } = event
    return named('train', { loss, lr, grad_norm, it_per_second, ...metrics })
  }
  if (event.type !== 'eval') return {}
  const { sets, emaSets } = event
  return { ...scores('eval', sets), ...(emaSets ? scores('eval_ema', emaSets) : {}) }
}

/** The checksum as a TFRecord has it: rotated and shifted, so that a checksum over checksums stays one. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** A TFRecord, little-endian: u64 length, its checksum, the data, their checksum. */
function record(data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(12 + data.length + 4)
  bytes.writeBigUInt64LE(BigInt(data.length))
  bytes.writeUInt32LE(maskedCrc(bytes.subarray(0, 8)), 8)
  bytes.set(data, 12)
  bytes.writeUInt32LE(maskedCrc(data), 12 + data.length)
  return bytes
}

/** Makes a file that TensorBoard reads after all others of the folder, whatever the clock says. */
async function makeFile(dir: string): Promise<string> {
  await makeFolder(dir)
  const seconds = (await readdir(dir)).map((name) => Number(fileName.exec(name)?.[1] ?? 0))
  for (let at = Math.max(Math.floor(Date.now() / 1000), ...seconds.map((second) => second + 1)); ; at++) {
    const path = join(dir, `events.out.tfevents.${String(at).padStart(10, '0')}.hrm-native`)
    try {
      await (await open(path, 'wx')).close()
      return path
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

/** A file of a training's metrics for TensorBoard. */
export class TensorBoard {
  readonly #type: Type
  readonly #file: AppendFile

  private constructor(type: Type, file: AppendFile) {
    this.#type = type
    this.#file = file
  }

  /**
   * Starts a file of its own in a folder, which is made if need be. Of the files before, TensorBoard shows the steps up
   * to `step` alone: a run that resumes replaces what came after its checkpoint.
   *
   * @throws ERR_HRM_IO
   */
  static async open(path: string, step: number): Promise<TensorBoard> {
    const dir = resolve(path)
    const { default: protobuf } = await import('protobufjs')
    try {
      const file = new AppendFile(await makeFile(dir))
      const board = new TensorBoard(protobuf.parse(proto).root.lookupType('Event'), file)
      board.#write({ fileVersion: 'brain.Event:2' })
      board.#write({ step: step + 1, sessionLog: { status: sessionStart } })
      return board
    } catch (error) {
      throw fileError('train', dir, error)
    }
  }

  #write(event: object): void {
    this.#file.add(record(this.#type.encode({ wallTime: Date.now() / 1000, ...event }).finish()))
  }

  /** Adds the metrics of an event, in single precision; they are written in the background. */
  log(event: TrainEvent): void {
    const value = Object.entries(scalars(event))
      .filter(([, value]) => value !== null)
      .map(([tag, simpleValue]) => ({ tag, simpleValue }))
    if (value.length > 0) this.#write({ step: event.step, summary: { value } })
  }

  /** Forces what was added to the disk. @throws ERR_HRM_IO; it is kept for the next call then */
  async flush(): Promise<void> {
    try {
      await this.#file.flush()
    } catch (error) {
      throw fileError('train', this.#file.path, error)
    }
  }

  /** Closes the file once all is written or has failed. */
  close(): Promise<void> {
    return this.#file.close()
  }
}
