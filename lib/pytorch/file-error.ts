import { type ErrorCode, HRMError } from '../errors.js'

/** Longest part of a message that comes from a file. */
const MAX_SHOWN = 120

/** Text from a file, shortened and without control characters, so that it cannot disturb a terminal. */
export function shown(text: string): string {
  return JSON.stringify(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text)
}

/** An error about the content of a PyTorch file; `do` says what helps. */
export function fileContentError(
  code: ErrorCode,
  path: string,
  expected: string,
  got: string,
  remedy: string,
): HRMError {
  return new HRMError(code, `[pytorch] expected ${expected} in ${path}, got ${got}; do ${remedy}`, { path })
}

/** The file is damaged or malformed. */
export function corruptFile(path: string, expected: string, got: string): HRMError {
  return fileContentError('ERR_HRM_CORRUPT', path, expected, got, 'fetch or save the file again')
}
