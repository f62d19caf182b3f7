import t from 'tap'
import { hrm } from './process.js'

t.test('help and version go to stdout and exit 0', async (t) => {
  const help = await hrm(['--help'])
  t.equal(help.code, 0)
  t.match(help.stdout, /Usage: hrm/)
  t.equal(help.stderr, '')
  const version = await hrm(['--version'])
  t.match(version, { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
  const names = [...help.stdout.matchAll(/^ {2}(\w+) .*$/gm)]
    .map((match) => match[1]!)
    .filter((name) => name !== 'help')
  t.ok(names.includes('doctor'))
  for (const name of names) {
    const own = await hrm([name, '--help'])
    t.match(own, { code: 0, stdout: new RegExp(`Usage: hrm ${name}`), stderr: '' }, name)
  }
})

t.test('wrong usage exits 2 with one line that has a code and no stack', async (t) => {
  for (const args of [['traim'], ['doctor', '--jsn'], ['doctor', 'extra'], ['--nonsense']]) {
    const { code, stdout, stderr } = await hrm(args)
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, /^hrm: .+ \[ERR_HRM_ARGUMENT\]\n$/)
  }
  t.match((await hrm(['doctr'])).stderr, /doctor/, 'the nearest command is named')
})

t.test('without a command the help is shown and the exit code is 2', async (t) => {
  t.match(await hrm([]), { code: 2, stdout: '', stderr: /Usage: hrm/ })
})
