/** JSON as read by `parseStrictJson`: objects are Maps, so that no key (`__proto__`) has a meaning of its own. */
export type StrictJson = null | boolean | number | string | StrictJson[] | Map<string, StrictJson>

const whitespace = /[ \t\n\r]*/y
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const literals = new Map<string, null | boolean>([
  ['null', null],
  ['true', true],
  ['false', false],
])

class Parser {
  readonly #text: string
  readonly #maxDepth: number
  #at = 0

  constructor(text: string, maxDepth: number) {
    this.#text = text
    this.#maxDepth = maxDepth
  }

  document(): StrictJson {
    const value = this.#value(0)
    this.#skip()
    if (this.#at < this.#text.length) this.#fail('the end')
    return value
  }

  #fail(expected: string): never {
    const found = this.#at < this.#text.length ? JSON.stringify(this.#text.slice(this.#at, this.#at + 12)) : 'the end'
    throw new SyntaxError(`expected ${expected} at character ${this.#at}, got ${found}`)
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #skip(): void {
    this.#match(whitespace)
  }

  #take(character: string): boolean {
    this.#skip()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #string(): string {
    this.#skip()
    const start = this.#at
    if (this.#text[start] !== '"') this.#fail('a string')
    let end = start
    let escaped: boolean
    do {
      end = this.#text.indexOf('"', end + 1)
      if (end < 0) this.#fail('a string with a closing quote')
      let backslashes = 0
      while (this.#text[end - 1 - backslashes] === '\\') backslashes++
      escaped = backslashes % 2 === 1
    } while (escaped)
    this.#at = end + 1
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string
    } catch {
      this.#at = start
      this.#fail('a string without control characters or unknown escapes')
    }
  }

  #value(depth: number): StrictJson {
    if (depth > this.#maxDepth) this.#fail(`at most ${this.#maxDepth} levels of nesting`)
    if (this.#take('{')) return this.#object(depth)
    if (this.#take('[')) return this.#array(depth)
    if (this.#text[this.#at] === '"') return this.#string()
    for (const [literal, value] of literals) {
      if (!this.#text.startsWith(literal, this.#at)) continue
      this.#at += literal.length
      return value
    }
    const found = this.#match(number)
    if (found === undefined) this.#fail('a value')
    return Number(found)
  }

  #object(depth: number): Map<string, StrictJson> {
    const object = new Map<string, StrictJson>()
    if (this.#take('}')) return object
    do {
      const start = this.#at
      const key = this.#string()
      if (object.has(key)) {
        this.#at = start
        this.#fail(`each key once, but ${JSON.stringify(key)} is repeated`)
      }
      if (!this.#take(':')) this.#fail('":"')
      object.set(key, this.#value(depth + 1))
    } while (this.#take(','))
    if (!this.#take('}')) this.#fail('"," or "}"')
    return object
  }

  #array(depth: number): StrictJson[] {
    const array: StrictJson[] = []
    if (this.#take(']')) return array
    do array.push(this.#value(depth + 1))
    while (this.#take(','))
    if (!this.#take(']')) this.#fail('"," or "]"')
    return array
  }
}

/**
 * Parses JSON from files that are not trusted: repeated keys and deep nesting are errors.
 *
 * @throws SyntaxError naming the character
 */
export function parseStrictJson(text: string, maxDepth = 16): StrictJson {
  return new Parser(text, maxDepth).document()
}
