// Serves a Sudoku model over HTTP, one puzzle a request; requests at the same time share batches:
//   node build-test/examples/solve-http.js node_modules/hrm-native/models/sudoku-4x4 8080
//   curl localhost:8080/solve -d '{"puzzle": "...1.1..4.3...2."}'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { HRM, verify } from 'hrm-native'

const [checkpoint = 'models/sudoku-4x4', port = '8080'] = process.argv.slice(2)
const model = await HRM.load(checkpoint)

/** Digits, `.` or 0 where empty, as tokens: the digit plus 1. */
function readPuzzle(body: string): number[] {
  const { puzzle } = JSON.parse(body) as { puzzle?: unknown }
  if (typeof puzzle !== 'string' || !/^[\d.]+$/.test(puzzle)) throw new SyntaxError('expected {"puzzle": "1.3…"}')
  return Array.from(puzzle, (digit) => (digit === '.' ? 1 : Number(digit) + 1))
}

async function solve(request: IncomingMessage, signal: AbortSignal): Promise<object> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk
    if (body.length > 10_000) throw new SyntaxError('expected one puzzle')
  }
  const input = readPuzzle(body)
  const { tokens, qHalt, segments } = await model.solve(input, { halting: 'q', signal })
  const solution = Array.from(tokens, (token) => token - 1).join('')
  return { solution, obeysRules: verify('sudoku', input, tokens).valid, qHalt, segments }
}

function reply(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

const server = createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/solve') return reply(response, 404, { error: 'POST /solve' })
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  solve(request, gone.signal).then(
    (answer) => reply(response, 200, answer),
    (error: Error & { code?: string }) => {
      const wrong = error instanceof SyntaxError || ['ERR_HRM_SHAPE', 'ERR_HRM_ARGUMENT'].includes(error.code ?? '')
      reply(response, wrong ? 400 : 500, { error: wrong ? error.message : 'internal error' })
    },
  )
})
await once(server.listen(Number(port), '127.0.0.1'), 'listening')
console.log(`solving at http://127.0.0.1:${(server.address() as AddressInfo).port}/solve on ${model.device}`)

process.once('SIGTERM', () => {
  server.close(() => model.dispose())
  server.closeIdleConnections()
})
