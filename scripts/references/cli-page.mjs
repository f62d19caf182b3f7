// docs/cli.md, from what commander knows of every command.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

const cli = join(import.meta.dirname, '../../dist/cli')

/** Commands and their summaries in the order of `hrm --help`; `help` itself is left out. */
function listCommands() {
  const help = execFileSync(process.execPath, [join(cli, 'main.js'), '--help'], { encoding: 'utf8' })
  const listed = help.slice(help.indexOf('Commands:')).replace(/\n {4,}/g, ' ')
  return [...listed.matchAll(/^ {2}(\w+) +(.*)$/gm)]
    .map(([, name, summary]) => ({ name, summary }))
    .filter(({ name }) => name !== 'help')
}

/** `dataCommand` of dist/cli/data.js, and so on. */
async function loadCommand(name) {
  const module = await import(join(cli, `${name}.js`))
  return module[`${name}Command`]()
}

const sentence = (text) =>
  text === '' ? '' : `${text[0].toUpperCase()}${text.slice(1)}${/[.…]$/.test(text) ? '' : '.'}`

const code = (text) => `\`${text}\``

/** Text of the help as markdown: names and options as code, all other signs as they are. */
function markdown(text) {
  return text
    .split(/((?<![\w-])--[a-z]+(?:-[a-z]+)*|\b\w+_[\w.]+\b|[\w-]+=[\w./]+)/)
    .map((part, index) => (index % 2 === 1 ? code(part) : part.replace(/[<>|*_[\]]/g, (sign) => `\\${sign}`)))
    .join('')
}

/** `one of a, b (default: c)`, in which what the description says itself is left out. */
function values({ description, argChoices, defaultValue }) {
  const explained = argChoices?.every((choice) => new RegExp(`\\b${choice}\\b`).test(description)) ?? true
  const choices = explained ? '' : `: ${argChoices.map(code).join(', ')}`
  return choices + (defaultValue === undefined || defaultValue === '' ? '' : ` (default: ${code(defaultValue)})`)
}

function describe(command, name, level) {
  const args = command.registeredArguments
  const usage = ['hrm', name, '[options]', ...args.map((arg) => argumentForm(arg))].join(' ')
  const parts = [`${'#'.repeat(level)} hrm ${name}`, markdown(sentence(command.description()))]
  if (command.commands.length === 0) {
    parts.push(`    ${usage}`)
    if (args.length > 0) {
      parts.push(
        args.map((arg) => `- ${code(argumentForm(arg))}: ${markdown(arg.description)}${values(arg)}`).join('\n'),
      )
    }
    const options = command.options.filter(({ hidden }) => !hidden)
    const rows = options.map((option) => `| ${code(option.flags)} | ${markdown(option.description)}${values(option)} |`)
    if (rows.length > 0) parts.push(['| option | what it does |', '| --- | --- |', ...rows].join('\n'))
  }
  for (const child of command.commands) parts.push(describe(child, `${name} ${child.name()}`, level + 1))
  return parts.join('\n\n')
}

function argumentForm(arg) {
  const name = `${arg.name()}${arg.variadic ? '...' : ''}`
  return arg.required ? `<${name}>` : `[${name}]`
}

export async function cliPage() {
  const commands = listCommands()
  const sections = []
  for (const { name } of commands) sections.push(describe(await loadCommand(name), name, 2))
  const index = commands.map(({ name, summary }) => `| [\`hrm ${name}\`](#hrm-${name}) | ${markdown(summary)} |`)
  return `# Command line

<!-- Written by npm run docs:references from the help of the commands in lib/cli/; change these. -->

| command | what it is for |
| --- | --- |
${index.join('\n')}

Every command has \`--help\`. Results go to stdout, progress and notes to stderr: a bar on a terminal, else a line every
ten seconds. With \`--json\` each line on stdout is one JSON object; the last one of a long command is
\`{"type": "result", …}\`. Errors are one line, \`hrm: [operation] expected …, got …; do … [CODE]\`; the codes are in
[errors](errors.md).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | wrong usage: an option, argument or key |
| 3 | bad data, or a bad checkpoint |
| 4 | no such device |
| 5 | training diverged: a NaN or an infinity |
| 6 | \`hrm eval --min-exact\`: the score is below |
| 130, 143 | ended by SIGINT or SIGTERM, after saving what there is to save |

| variable | meaning |
| --- | --- |
| \`HRM_DEVICE\` | \`auto\`, \`cpu\`, \`cuda\` or \`cuda:N\` where \`--device\` is not given |
| \`HRM_THREADS\` | compute threads where \`--threads\` is not given |
| \`HRM_ISA\` | \`portable\`, \`avx2\`, \`avx512\`, \`avx512vnni\` or \`neon\` instead of the best that the CPU has |
| \`HRM_DEBUG\` | \`1\`: errors come with their stack |
| \`HF_ENDPOINT\`, \`HF_TOKEN\` | another hub for \`hrm pull\`, and the token for private models |
| \`NO_COLOR\` | drawings without colours |

Where Node finds the binary is in [building](building.md).

${sections.join('\n\n')}
`
}
