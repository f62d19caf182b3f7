/** JSON as read by `parseStrictJson`: objects are Maps, so that no key (`__proto__`) has a meaning of its own. */
export type StrictJson = null | boolean | number | string | StrictJson[] | Map<string, StrictJson>

const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const literals = new Map<string, null | boolean>([
  ['null', null],
  ['true', true],
  ['false', false],
])

export interface JsonLimits {
  /** Levels of objects and arrays within each other. @default 16 */
  maxDepth?: number
  /** Keys of one object. @default unlimited */
  maxKeys?: number
}

/**
 * Reads JSON value by value, so that a caller who knows the form it expects stops at the first deviation and holds
 * nothing else. Every method reads one value where it stands and throws a SyntaxError naming the character.
 */
export class JsonReader {
  readonly #text: string
  readonly #maxDepth: number
  readonly #maxKeys: number
  #at = 0
  #depth = 0

  constructor(text: string, { maxDepth = 16, maxKeys = Infinity }: JsonLimits = {}) {
    this.#text = text
    this.#maxDepth = maxDepth
    this.#maxKeys = maxKeys
  }

  /** Characters read so far. */
  get position(): number {
    return this.#at
  }

  /** Ends with an error at the place reached, or at an earlier one. */
  fail(expected: string, at = this.#at): never {
    const found = at < this.#text.length ? JSON.stringify(this.#text.slice(at, at + 12)) : 'the end'
    throw new SyntaxError(`expected ${expected} at character ${at}, got ${found}`)
  }

  /** First character of the next value, '' at the end. */
  peek(): string {
    let next = this.#text[this.#at]
    while (next === ' ' || next === '\n' || next === '\r' || next === '\t') next = this.#text[++this.#at]
    return next ?? ''
  }

  /** The number that begins here, if one does. */
  #matchNumber(): number | undefined {
    number.lastIndex = this.#at
    if (!number.test(this.#text)) return undefined
    const start = this.#at
    this.#at = number.lastIndex
    return Number(this.#text.slice(start, this.#at))
  }

  #take(character: string): boolean {
    if (this.peek() !== character) return false
    this.#at++
    return true
  }

  string(): string {
    const start = this.peek() === '"' ? this.#at : this.fail('a string')
    let end = start
    let escaped: boolean
    do {
      end = this.#text.indexOf('"', end + 1)
      if (end < 0) this.fail('a string with a closing quote')
      let backslashes = 0
      while (this.#text[end - 1 - backslashes] === '\\') backslashes++
      escaped = backslashes % 2 === 1
    } while (escaped)
    this.#at = end + 1
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string
    } catch {
      this.fail('a string without control characters or unknown escapes', start)
    }
  }

  number(): number {
    this.peek()
    return this.#matchNumber() ?? this.fail('a number')
  }

  /** `member` reads the value of each key. */
  object(member: (key: string) => void): void {
    this.#enter('{', 'an object')
    const keys = new Set<string>()
    if (!this.#take('}')) {
      do {
        this.peek()
        const start = this.#at
        const key = this.string()
        if (keys.has(key)) this.fail(`each key once, but ${JSON.stringify(key.slice(0, 40))} is repeated`, start)
        if (keys.size === this.#maxKeys) this.fail(`at most ${this.#maxKeys} keys`, start)
        keys.add(key)
        if (!this.#take(':')) this.fail('":"')
        member(key)
      } while (this.#take(','))
      if (!this.#take('}')) this.fail('"," or "}"')
    }
    this.#depth--
  }

  /** `item` reads each value. */
  array(item: (index: number) => void): void {
    this.#enter('[', 'an array')
    if (!this.#take(']')) {
      let index = 0
      do item(index++)
      while (this.#take(','))
      if (!this.#take(']')) this.fail('"," or "]"')
    }
    this.#depth--
  }

  #enter(bracket: string, what: string): void {
    if (this.#depth >= this.#maxDepth) this.fail(`at most ${this.#maxDepth} levels of nesting`)
    if (!this.#take(bracket)) this.fail(what)
    this.#depth++
  }

  /** Any value. */
  value(): StrictJson {
    switch (this.peek()) {
      case '{': {
        const object = new Map<string, StrictJson>()
        this.object((key) => object.set(key, this.value()))
        return object
      }
      case '[': {
        const array: StrictJson[] = []
        this.array(() => array.push(this.value()))
        return array
      }
      case '"':
        return this.string()
      default:
        return this.#scalar()
    }
  }

  #scalar(): null | boolean | number {
    for (const [literal, value] of literals) {
      if (!this.#text.startsWith(literal, this.#at)) continue
      this.#at += literal.length
      return value
    }
    return this.#matchNumber() ?? this.fail('a value')
  }

  /** Passes any value without keeping it. */
  skip(): void {
    const first = this.peek()
    if (first === '{') this.object(() => this.skip())
    else if (first === '[') this.array(() => this.skip())
    else if (first === '"') this.string()
    else this.#scalar()
  }

  /** Nothing but white space may be left. */
  end(): void {
    if (this.peek() !== '') this.fail('the end')
  }
}

/**
 * Parses JSON from files that are not trusted: repeated keys and deep nesting are errors.
 *
 * @throws SyntaxError naming the character
 */
export function parseStrictJson(text: string, maxDepth?: number): StrictJson {
  const reader = new JsonReader(text, maxDepth === undefined ? {} : { maxDepth })
  const value = reader.value()
  reader.end()
  return value
}
