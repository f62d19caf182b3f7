type Child = Node | string | null | false
type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>

/** Makes an element; functions listen to the event of their name, `true` is an attribute without value, `false` none. */
export function el<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value)
    else if (value !== false) element.setAttribute(key, value === true ? '' : String(value))
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false))
  return element
}

/** A drawing of this package: it has escaped its texts. */
export function picture(svg: string, className = ''): HTMLElement {
  const holder = el('span', { class: `picture ${className}` })
  holder.innerHTML = svg
  return holder
}

/** A table; the first row is its head, and the first cell of every other row says what the row is. */
export function table(caption: string, rows: readonly (readonly (string | Node)[])[]): HTMLTableElement {
  const [head = [], ...body] = rows
  return el(
    'table',
    {},
    el('caption', {}, caption),
    el('thead', {}, el('tr', {}, ...head.map((cell) => el('th', { scope: 'col' }, cell)))),
    el(
      'tbody',
      {},
      ...body.map(([first = '', ...cells]) =>
        el('tr', {}, el('th', { scope: 'row' }, first), ...cells.map((cell) => el('td', {}, cell))),
      ),
    ),
  )
}

/** A wide thing that scrolls by itself, also by keyboard. */
export function scrolling(label: string, ...children: Node[]): HTMLElement {
  return el('div', { class: 'scrolling', role: 'region', 'aria-label': label, tabindex: 0 }, ...children)
}

const counts = new Intl.NumberFormat('en-US')

export const formatCount = (count: number) => counts.format(count)

/** 0.9662 as `96.6 %`. */
export const formatPercent = (share: number | null) => (share === null ? '–' : `${(100 * share).toFixed(1)} %`)

/** An interval of shares as `95.1 … 97.7 %`. */
export const formatInterval = ([low, high]: readonly [number, number]) =>
  `${(100 * low).toFixed(1)} … ${(100 * high).toFixed(1)} %`

/** Four digits, small and large numbers with an exponent. */
export function formatNumber(value: number | null): string {
  if (value === null) return '–'
  const size = Math.abs(value)
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)))
}

/** `one puzzle`, `2 puzzles`. */
export const plural = (count: number, noun: string) => `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
