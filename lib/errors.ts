const meanings = {
  ERR_HRM_ARGUMENT: 'an argument has the wrong type or lies outside its range',
  ERR_HRM_BUSY: 'the model is training and cannot do this now',
  ERR_HRM_CHECKPOINT: 'a checkpoint is missing, incomplete or does not fit',
  ERR_HRM_CONFIG: 'a configuration is invalid',
  ERR_HRM_CORRUPT: 'a file is damaged: a checksum or its structure is wrong',
  ERR_HRM_CUDA: 'the CUDA driver reported an error',
  ERR_HRM_DATASET: 'a dataset is malformed or does not fit the model',
  ERR_HRM_DISPOSED: 'the model was disposed',
  ERR_HRM_IO: 'reading or writing a file failed',
  ERR_HRM_LOCKED: 'another process owns this run folder',
  ERR_HRM_NON_FINITE: 'training, or a save, met a NaN or an infinity',
  ERR_HRM_NO_BINARY: 'no native binary could be loaded',
  ERR_HRM_NO_DEVICE: 'the requested device is not available',
  ERR_HRM_OUT_OF_MEMORY: 'memory is exhausted',
  ERR_HRM_SHAPE: 'an input has the wrong shape',
  ERR_HRM_UNSAFE_PICKLE: 'a PyTorch file asks for more than tensors',
} as const

/**
 * The codes of errors that this package raises on purpose.
 * @useDeclaredType
 */
export type ErrorCode = keyof typeof meanings

/** What each error code means; `docs/errors.md` says what to do. */
export const errorCodes: Readonly<Record<ErrorCode, string>> = meanings

/** An error of this package; `code` is stable, `details` names what was expected and found. */
export class HRMError extends Error {
  /** Always `HRMError`. */
  override readonly name = 'HRMError'
  /** What kind of error it is; codes keep their meaning from version to version. */
  readonly code: ErrorCode
  /** What was expected and what was found, as values; the keys depend on the code. */
  readonly details: Readonly<Record<string, unknown>>

  /**
   * @param code - one of `errorCodes`
   * @param message - `[operation] expected …, got …; do …`
   * @param details - what was expected and found, as values
   * @param options - the error behind this one, if any
   */
  constructor(
    code: ErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

type ArgumentError<E> = E & { code: 'ERR_HRM_ARGUMENT' }

/** A `TypeError` with code `ERR_HRM_ARGUMENT`: the argument is of the wrong kind. */
export function argumentError(message: string): ArgumentError<TypeError> {
  return Object.assign(new TypeError(message), { code: 'ERR_HRM_ARGUMENT' as const })
}

/** A `RangeError` with code `ERR_HRM_ARGUMENT`: the argument is of the right kind but outside its range. */
export function rangeError(message: string): ArgumentError<RangeError> {
  return Object.assign(new RangeError(message), { code: 'ERR_HRM_ARGUMENT' as const })
}

/** Turns an error of the native addon, which carries only a code, into the class that users see. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  // node-addon-api says nothing but the name of what its own code threw.
  const outOfMemory = error.message === 'std::bad_alloc'
  const code = outOfMemory ? 'ERR_HRM_OUT_OF_MEMORY' : (error as { code?: unknown }).code
  if (typeof code !== 'string' || !(code in errorCodes) || error instanceof HRMError) return error
  if (code === 'ERR_HRM_ARGUMENT') return error
  const details = (error as { details?: Record<string, unknown> }).details ?? {}
  return new HRMError(code as ErrorCode, error.message, details, { cause: error })
}
