/** A pen's way: points (x, y) of a glyph 8 units wide and 12 high, y downwards, tails of letters reaching to 15. */
export type Stroke = readonly (readonly [x: number, y: number])[]

/** Units from the left edge of a character to that of the next, and the width of one. */
export const advance = 11
export const glyphWidth = 8

/** Units from the top of a capital to the line that it stands on. */
export const capHeight = 12

/**
 * Characters as strokes: two base-36 digits a point, spaces between strokes, `~` before those that are rounded off. A
 * stroke that ends where it begins is closed; one point is a dot.
 */
const glyphs: Readonly<Record<string, string>> = {
  0: '~40000c8c8040',
  1: '13404c 1c7c',
  2: '~030080850c 0c8c',
  3: '~0200808636 ~36868c0c0a',
  4: '6c600888',
  5: '801015 ~15858c0c0a',
  6: '~7140000c8c850508',
  7: '00803c',
  8: '~401016767040 ~46060c8c8646',
  9: '~1b4c8c8000078784',
  A: '0c408c 1878',
  B: '000c ~00707606 ~06868c0c',
  C: '~8280000c8c8a',
  D: '000c ~00808c0c',
  E: '80000c8c 0666',
  F: '80000c 0666',
  G: '~8280000c8c87 8747',
  H: '000c 808c 0686',
  I: '404c 2060 2c6c',
  J: '~707c0c09',
  K: '000c 80068c',
  L: '000c8c',
  M: '0c0046808c',
  N: '0c008c80',
  O: '~40000c8c8040',
  P: '000c ~00808707',
  Q: '~40000c8c8040 598c',
  R: '000c ~00808707 478c',
  S: '~82800006868c0c0a',
  T: '0080 404c',
  U: '~000c8c80',
  V: '004c80',
  W: '002c446c80',
  X: '008c 800c',
  Y: '004680 464c',
  Z: '00800c8c',
  a: '~44040c8c8444 848c',
  b: '000c ~44040c8c8444',
  c: '~8584040c8c8b',
  d: '808c ~44040c8c8444',
  e: '0888 ~8884040c8c8b',
  f: '~80303c 0464',
  g: '~44040c8c8444 ~848f0f0e',
  h: '000c ~0804848c',
  i: '444c 41',
  j: '~444f0f 41',
  k: '000c 74088c',
  l: '404c',
  m: '040c ~0604444c ~4644848c',
  n: '040c ~0804848c',
  o: '~44040c8c8444',
  p: '040f ~44040c8c8444',
  q: '848f ~44040c8c8444',
  r: '040c ~09048485',
  s: '~85840408888c0c0b',
  t: '~414c8c 1474',
  u: '~040c8c84 848c',
  v: '044c84',
  w: '042c466c84',
  x: '048c 840c',
  y: '044c 842f',
  z: '04840c8c',
  '!': '4048 4c',
  '"': '3033 5053',
  '#': '302c 605c 0484 0888',
  $: '~82810106868b0b0a 404c',
  '%': '800c ~200004444020 ~68484c8c8868',
  '&': '8c23 ~2320706508 ~080c6c88',
  "'": '4043',
  '(': '~60303c6c',
  ')': '~20505c2c',
  '*': '4149 1367 1763',
  '+': '4349 1676',
  ',': '4b3e',
  '-': '1676',
  '.': '4c',
  '/': '800c',
  ':': '45 4b',
  ';': '45 4b3e',
  '<': '82068a',
  '=': '1474 1878',
  '>': '02860a',
  '?': '~020080854649 4c',
  '@': '~66363a6a66 ~66698a80000c7c',
  '[': '60303c6c',
  '\\': '008c',
  ']': '20505c2c',
  '^': '144074',
  _: '0e8e',
  '`': '2042',
  '{': '~60404616 ~16464c6c',
  '|': '404f',
  '}': '~20404676 ~76464c2c',
  '~': '~0704488885',
  '•': '46',
  '…': '1c 4c 7c',
  '–': '0686',
  '−': '1676',
}

/** An empty box, for characters that have no strokes. */
const unknown = '00808c0c00'

/** Times that the corners of a rounded stroke are cut: the length of the pieces is below a pixel then. */
const CUTS = 3

/** Chaikin's corner cutting: each point becomes two, a quarter towards its neighbours; ends stay. */
function cutCorners(points: Stroke): Stroke {
  const [first, last] = [points[0]!, points.at(-1)!]
  const closed = first[0] === last[0] && first[1] === last[1]
  const cut = points.slice(1).flatMap(([x, y], at) => {
    const [fromX, fromY] = points[at]!
    const between = (share: number) => [fromX + share * (x - fromX), fromY + share * (y - fromY)] as const
    return [between(0.25), between(0.75)]
  })
  return closed ? [...cut, cut[0]!] : [first, ...cut, last]
}

/** The strokes of a character, spaces having none. */
export function strokesOf(character: string): Stroke[] {
  if (/\s/u.test(character)) return []
  return (glyphs[character] ?? unknown).split(' ').map((text) => {
    const digits = [...text.replace('~', '')].map((digit) => Number.parseInt(digit, 36))
    let points: Stroke = digits.flatMap((x, at) => (at % 2 === 0 ? [[x, digits[at + 1]!] as const] : []))
    for (let cuts = 0; text.startsWith('~') && cuts < CUTS; cuts++) points = cutCorners(points)
    return points
  })
}
