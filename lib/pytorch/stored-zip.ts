import { crc32 } from 'node:zlib'
import { HRMError } from '../errors.js'
import type { MappedFile } from '../mapped-file.js'
import { corruptFile, shown } from './file-error.js'

/** Most entries read; a state dict has one per storage and some besides. */
const MAX_ENTRIES = 20_000

/** Bytes hashed at once. */
const CHUNK_BYTES = 2 ** 20

/** A file inside a zip archive, stored as it is. */
export interface ZipEntry {
  name: string
  /** First byte of its content in the archive. */
  start: number
  sizeBytes: number
  crc32: number
}

/**
 * Lists a zip archive (zip64 too) whose entries are stored without compression, as PyTorch writes it. Names are unique
 * and entries do not overlap, so that no two readers can see different content.
 *
 * @throws HRMError ERR_HRM_CORRUPT
 */
export async function readStoredZip(file: MappedFile): Promise<Map<string, ZipEntry>> {
  const { default: yauzl } = await import('yauzl')
  class MappedReader extends yauzl.RandomAccessReader {
    override read(
      target: Buffer,
      offset: number,
      length: number,
      position: number,
      done: (error: Error | null) => void,
    ): void {
      try {
        target.set(file.view(position, length), offset)
      } catch (error) {
        done(error as Error)
        return
      }
      done(null)
    }
  }
  const corrupt = (expected: string, got: string) => corruptFile(file.path, expected, got)
  const found = new Map<string, ZipEntry>()
  const extents: { begin: number; end: number; name: string }[] = []
  try {
    const options = { strictFileNames: true, autoClose: false }
    const zip = await yauzl.fromRandomAccessReaderPromise(new MappedReader(), file.size, options)
    if (zip.entryCount > MAX_ENTRIES) throw corrupt(`at most ${MAX_ENTRIES} entries`, `${zip.entryCount}`)
    for await (const entry of zip.eachEntry()) {
      const name = entry.fileName
      const what = `entry ${shown(name)}`
      if (found.has(name)) throw corrupt('each entry once', `${what} again`)
      if (entry.isEncrypted()) throw corrupt(`${what} to be readable`, 'an encrypted one')
      if (entry.compressionMethod !== 0)
        throw corrupt(`${what} to be stored, as torch.save does`, `compression method ${entry.compressionMethod}`)
      const begin = entry.relativeOffsetOfLocalHeader
      const local = await zip.readLocalFileHeaderPromise(entry)
      if (local.compressionMethod !== 0 || !local.fileName.equals(entry.fileNameRaw))
        throw corrupt(`${what} as the directory of the archive names it`, 'another one at its place')
      const start = local.fileDataStart
      found.set(name, { name, start, sizeBytes: entry.compressedSize, crc32: entry.crc32 })
      extents.push({ begin, end: start + entry.compressedSize, name })
    }
  } catch (error) {
    if (error instanceof HRMError && error.code === 'ERR_HRM_CORRUPT') throw error
    throw corrupt('a zip archive', shown((error as Error).message))
  }
  let last = { end: 0, name: '' }
  for (const extent of extents.sort((a, b) => a.begin - b.begin)) {
    if (extent.begin < last.end)
      throw corrupt('entries that do not overlap', `${shown(last.name)} and ${shown(extent.name)}`)
    last = extent
  }
  return found
}

/** Compares the content of an entry with its CRC-32. @throws HRMError ERR_HRM_CORRUPT */
export function verifyEntry(file: MappedFile, { name, start, sizeBytes, crc32: expected }: ZipEntry): void {
  let crc = 0
  for (let done = 0; done < sizeBytes; done += CHUNK_BYTES)
    crc = crc32(file.view(start + done, Math.min(CHUNK_BYTES, sizeBytes - done)), crc)
  if (crc !== expected) throw corruptFile(file.path, `CRC-32 ${hex(expected)} of entry ${shown(name)}`, hex(crc))
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}
