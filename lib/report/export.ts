import { join } from 'node:path'
import { makeFolder, replaceFile } from '../durable-folder.js'
import { type PictureFrame, pictures, segmentFrames } from '../render/picture.js'
import { svgFilmstrip, svgOf } from '../render/svg.js'
import { segmentsOf, type SolvedPuzzle, type SolvedPuzzles } from './data.js'

export type ImageFormat = 'svg' | 'png'

/** Side of a cell in pixels. */
const CELL_PX = 32

/** Frames beside each other in a filmstrip. */
const PER_ROW = 6

type Draw = (frames: readonly PictureFrame[], title: string) => Uint8Array | string

/** Draws one frame, or a filmstrip of several. */
async function drawerOf(format: ImageFormat): Promise<Draw> {
  const options = { cellSize: CELL_PX, perRow: PER_ROW }
  if (format === 'svg') {
    return (frames, title) =>
      frames.length === 1
        ? svgOf(frames[0]!.picture, { ...options, title })
        : svgFilmstrip(frames, { ...options, title })
  }
  const { pngFilmstrip, pngOf } = await import('../render/png.js')
  return (frames) => (frames.length === 1 ? pngOf(frames[0]!.picture, options) : pngFilmstrip(frames, options))
}

/** `all-17-segment-03`: names that sort as the puzzles run, of set names that are file names already. */
function imageName({ set, example }: SolvedPuzzle, title: string): string {
  return `${set}-${example}-${title.replace(/\d+/, (digits) => digits.padStart(2, '0')).replaceAll(' ', '-')}`
}

/**
 * Writes a picture of each puzzle, of each segment's answer, of the right answer and of all these as a filmstrip.
 *
 * @returns the paths of the files
 * @throws ERR_HRM_IO
 */
export async function exportPictures(solved: SolvedPuzzles, dir: string, format: ImageFormat): Promise<string[]> {
  const draw = pictures(solved.sizes, solved.vocabulary ?? undefined)
  const drawImage = await drawerOf(format)
  await makeFolder(dir)
  const paths: string[] = []
  for (const puzzle of solved.shown) {
    const frames = segmentFrames(draw, puzzle.input, segmentsOf(puzzle), puzzle.labels)
    const images: [string, readonly PictureFrame[]][] = [
      ...frames.map((frame): [string, PictureFrame[]] => [frame.title, [frame]]),
      ['filmstrip', frames],
    ]
    for (const [title, content] of images) {
      const path = join(dir, `${imageName(puzzle, title)}.${format}`)
      const image = drawImage(content, `Example ${puzzle.example}, set ${puzzle.set}: ${title}`)
      await replaceFile('report', path, (handle) => handle.writeFile(image))
      paths.push(path)
    }
  }
  return paths
}
