/** Colours of ARC as its testing interface shows them, 0 … 9. */
const arc = [
  '#000000',
  '#0074d9',
  '#ff4136',
  '#2ecc40',
  '#ffdc00',
  '#aaaaaa',
  '#f012be',
  '#ff851b',
  '#7fdbff',
  '#870c25',
] as const

/** Tints for the values of a small vocabulary, neighbours far apart. */
const tints = [
  '#cfe3ff',
  '#ffd9b0',
  '#c8efc5',
  '#ffc9cf',
  '#fff0a6',
  '#dccff9',
  '#bdeee8',
  '#f6cbe8',
  '#e3dccb',
  '#b9d0c0',
  '#e8f5a8',
  '#d3d9e2',
] as const

/** Values that have a tint of their own. */
export const hues = tints.length

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9

/** What a cell looks like. */
export type Tone = 'plain' | 'wall' | 'path' | 'end' | 'pad' | `arc${Digit}` | `hue${Digit | 10 | 11}`

/** A background and what is written on it. */
export interface Paint {
  fill: string
  ink: string
}

/** All colours of pictures, for light and for dark surroundings. */
export interface Palette {
  tones: Readonly<Record<Tone, Paint>>
  /** Titles beside the pictures. */
  title: string
  /** What the model wrote into a plain cell; givens have the ink of the tone. */
  answer: string
  /** Thin and thick lines. */
  line: string
  border: string
  changed: string
  wrong: string
  /** Behind a wrong plain cell. */
  wrongFill: string
}

const dark = '#16202c'
const fixed = Object.fromEntries([
  // White reads better on these.
  ...arc.map((fill, colour) => [`arc${colour}`, { fill, ink: [0, 1, 6, 9].includes(colour) ? '#ffffff' : '#10151c' }]),
  ...tints.map((fill, hue) => [`hue${hue}`, { fill, ink: dark }]),
]) as Record<Tone, Paint>

export const lightPalette: Palette = {
  tones: {
    ...fixed,
    plain: { fill: '#ffffff', ink: dark },
    wall: { fill: '#3b4654', ink: '#ffffff' },
    path: { fill: '#a9e4cb', ink: '#0b5a3d' },
    end: { fill: '#ffd54a', ink: '#3a2a00' },
    pad: { fill: '#e6e9ee', ink: '#5b6673' },
  },
  title: '#4a5563',
  answer: '#1257c4',
  line: '#c3cad4',
  border: '#38424f',
  changed: '#e08600',
  wrong: '#c8102e',
  wrongFill: '#ffe3e6',
}

export const darkPalette: Palette = {
  tones: {
    ...fixed,
    plain: { fill: '#1b232d', ink: '#eef2f7' },
    wall: { fill: '#05080c', ink: '#eef2f7' },
    path: { fill: '#12664a', ink: '#c6f7e2' },
    end: { fill: '#f2c230', ink: '#2b1f00' },
    pad: { fill: '#2b343f', ink: '#9aa7b6' },
  },
  title: '#aab6c4',
  answer: '#8abaff',
  line: '#46525f',
  border: '#9aa8b7',
  changed: '#ffb84d',
  wrong: '#ff6b7d',
  wrongFill: '#4a1d26',
}
