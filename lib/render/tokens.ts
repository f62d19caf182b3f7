/** Draws a sequence as rows of token numbers: as a square where its length is one, else in lines of `perLine`. */
export function drawTokens(tokens: ArrayLike<number>, perLine = 32): string[] {
  const side = Math.sqrt(tokens.length)
  const width = Number.isInteger(side) && side <= 2 * perLine ? side : perLine
  const texts = Array.from(tokens, (token) => (token < 0 ? '.' : String(token)))
  const cellWidth = Math.max(...texts.map((text) => text.length))
  const lines: string[] = []
  for (let at = 0; at < texts.length; at += width) {
    lines.push(
      texts
        .slice(at, at + width)
        .map((text) => text.padStart(cellWidth))
        .join(' '),
    )
  }
  return lines
}
