// The page as readers use it: real clicks, keys, a phone's width and the dark, in headless Chromium.
/// <reference lib="dom" />
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { ReportData, ReportRun, SolvedPuzzles } from '#dist/report/data.js'
import { RunStory } from '#dist/report/curves.js'
import { reportPage } from '#dist/report/page.js'
import { paperFigures } from '#dist/report/paper.js'
import { RunSource } from '#dist/report/run.js'
import { ReportServer } from '#dist/report/watch.js'
import { chromiumPath } from './browser.js'
import { emptyRun, reportData, stepLine, trainedFolder, writeMetrics } from './fixtures.js'

const skip = chromiumPath === undefined && 'no Chromium is installed (apt-get install chromium, or set HRM_CHROMIUM)'

/** A page that is open, with all that it complained of and asked for. */
interface Opened {
  page: Page
  problems: string[]
  requests: string[]
}

interface Looks {
  width?: number
  colorScheme?: 'light' | 'dark'
}

async function openUrl(t: Test, browser: Browser, url: string, { width = 1200, colorScheme = 'light' }: Looks = {}) {
  const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme })
  t.teardown(() => page.close())
  const opened: Opened = { page, problems: [], requests: [] }
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) opened.problems.push(message.text())
  })
  page.on('pageerror', (error) => opened.problems.push(String(error)))
  page.on('dialog', (dialog) => {
    opened.problems.push(`dialog ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) opened.requests.push(request.url())
  })
  await page.goto(url)
  return opened
}

/** Text of the first element that a selector finds. */
const textOf = (page: Page, selector: string) => page.locator(selector).first().innerText()

/** Contrast of the text of an element with what lies behind it, as WCAG defines it. */
async function contrasts(page: Page, selectors: readonly string[]): Promise<Record<string, number>> {
  return page.evaluate((selectors) => {
    const channels = (colour: string) => (/rgba?\(([^)]*)\)/.exec(colour)?.[1] ?? '0,0,0,0').split(/[ ,/]+/).map(Number)
    const luminance = (colour: string) => {
      const [r = 0, g = 0, b = 0] = channels(colour).map((value) => {
        const share = value / 255
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
      })
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const behind = (element: Element | null): string => {
      if (element === null) return 'rgb(255, 255, 255)'
      const { backgroundColor } = getComputedStyle(element)
      return (channels(backgroundColor)[3] ?? 1) > 0 ? backgroundColor : behind(element.parentElement)
    }
    return Object.fromEntries(
      selectors.map((selector) => {
        const element = document.querySelector(selector)!
        const [one, other] = [getComputedStyle(element).color, behind(element)].map(luminance) as [number, number]
        return [selector, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)]
      }),
    )
  }, selectors)
}

t.test('the report page in Chromium', { skip }, async (t) => {
  const cwd = await trainedFolder(t)
  const folder = mkdtempSync(join(tmpdir(), 'hrm-report-'))
  const browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] })
  t.teardown(async () => {
    await browser.close()
    rmSync(folder, { recursive: true })
  })
  const source = await RunSource.open(join(cwd, 'run'))
  const options = { puzzles: 4, threads: 1, data: join(cwd, 'data') }
  const run = await source.collect(options)
  const solved = run.puzzles as SolvedPuzzles
  let files = 0
  const pageOf = async (data: ReportData) => {
    const path = join(folder, `report-${files++}.html`)
    writeFileSync(path, await reportPage(data))
    return pathToFileURL(path).href
  }
  const url = await pageOf(reportData(run))
  const open = (t: Test, looks: Looks = {}, at = url) => openUrl(t, browser, at, looks)

  await t.test('it shows curves, puzzles and configuration without a complaint or a request', async (t) => {
    const { page, problems, requests } = await open(t)
    t.equal(await page.title(), 'run – HRM report')
    t.equal(await page.locator('.chart canvas').count(), 5)
    t.match(await textOf(page, '.figures'), 'exact, best evaluation')
    t.match(await textOf(page, '#puzzles'), `tried all 9 test examples: ${solved.exact} exact`)
    t.equal(await page.locator('.puzzle-list button').count(), 4)
    t.match(await textOf(page, '#facts'), 'arch.hidden_size')
    t.match(await textOf(page, '#facts'), process.version)
    const drawn = await page.evaluate(() => {
      const canvas = document.querySelectorAll<HTMLCanvasElement>('.chart canvas')[1]!
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
      let blue = 0
      for (let at = 0; at < data.length; at += 4) if (data[at + 2]! > data[at]! + 80 && data[at + 3]! > 200) blue++
      return blue
    })
    t.ok(drawn > 100, `the loss is drawn in ${drawn} pixels`)
    const path = join(folder, 'report.png')
    await page.screenshot({ path, fullPage: true })
    t.ok(statSync(path).size > 50_000, 'the screenshot shows something')
    t.same(problems, [])
    t.same(requests, [url])
  })

  await t.test('the slider, its keys, the film and the play button move through the segments', async (t) => {
    const { page, problems } = await open(t)
    const slider = page.getByRole('slider', { name: 'Segment' })
    const shown = () => textOf(page, '.now')
    const count = solved.shown[0]!.changes.length
    t.equal(count, 3)
    t.match(await shown(), `segment ${count} of ${count}`)
    await slider.focus()
    await page.keyboard.press('ArrowLeft')
    t.match(await shown(), `segment ${count - 1} of ${count}`)
    t.match(await slider.getAttribute('aria-valuetext'), `segment ${count - 1}`)
    t.equal(await page.locator('.film [aria-current]').getAttribute('aria-label'), `Segment ${count - 1}`)
    await page.keyboard.press('Home')
    t.equal(await shown(), 'the puzzle')
    const digits = () => page.locator('.stage .main text').count()
    const givens = solved.shown[0]!.input.filter((token) => token > 1).length
    t.equal(await digits(), givens, 'the puzzle has its givens alone')
    const { width, height } = (await slider.boundingBox())!
    await slider.click({ position: { x: width - 4, y: height / 2 } })
    t.match(await shown(), `segment ${count} of ${count}`)
    t.ok((await digits()) > givens)
    await page.locator('.film button').first().click()
    t.match(await shown(), 'segment 1 of')
    const play = page.getByRole('button', { name: /Play|Pause/ })
    await play.click()
    t.match(await play.innerText(), 'Pause')
    await page.waitForFunction(
      (wanted) => document.querySelector('.now')!.textContent.startsWith(wanted),
      `segment ${count}`,
    )
    await page.waitForFunction(() => document.querySelector('.play')!.textContent.includes('Play'))
    t.same(problems, [])
  })

  await t.test('failures come first, and a puzzle that is chosen is shown', async (t) => {
    const { page } = await open(t)
    const signs = await page.locator('.puzzle-list button > span:last-child').allInnerTexts()
    const failures = solved.shown.filter(({ wrong }) => wrong > 0).length
    t.same(
      signs.map((text) => text.startsWith('✓')),
      solved.shown.map((_, at) => at >= failures),
    )
    const third = page.locator('.puzzle-list button').nth(2)
    await third.click()
    t.equal(await third.getAttribute('aria-pressed'), 'true')
    t.match(await textOf(page, '.viewer h3'), `Example ${solved.shown[2]!.example}, set all`)
    t.equal(await page.locator('.puzzle-list [aria-pressed=true]').count(), 1)
  })

  await t.test('a value can be read by pointer and by keyboard', async (t) => {
    const { page, problems } = await open(t)
    const loss = page.locator('.chart', { hasText: 'Loss' })
    t.match(await loss.locator('output').innerText(), /^last: /)
    await loss.locator('.u-over').hover()
    t.match(await loss.locator('output').innerText(), /^step \d/)
    await page.mouse.move(0, 0)
    await loss.locator('.plot').focus()
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('ArrowRight')
    t.match(await loss.locator('output').innerText(), /^step \d/)
    t.match(await loss.locator('.plot').getAttribute('aria-label'), /^Loss\. .* at step 12, from .* to /)
    await loss.getByRole('checkbox', { name: 'logarithmic' }).check()
    t.equal(await loss.locator('canvas').count(), 1)
    t.same(problems, [])
  })

  await t.test('it fits a phone', async (t) => {
    const { page, problems } = await open(t, { width: 360 })
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    t.equal(await overflow(), 0, 'nothing makes the page wider')
    const widths = await page.locator('.chart canvas').evaluateAll((all) => all.map((canvas) => canvas.clientWidth))
    t.ok(
      widths.every((width) => width > 280 && width <= 360),
      `charts are ${widths} wide`,
    )
    const [main, side] = [page.locator('.stage .main'), page.locator('.stage .side').first()]
    t.ok((await main.boundingBox())!.width > 1.8 * (await side.boundingBox())!.width, 'the answer is largest')
    const slider = (await page.getByRole('slider', { name: 'Segment' }).boundingBox())!
    t.ok(slider.width > 250 && slider.height >= 36, 'the slider is large enough for a finger')
    await page.setViewportSize({ width: 700, height: 800 })
    await page.waitForFunction(() => document.querySelector('.chart canvas')!.clientWidth > 500)
    t.equal(await overflow(), 0)
    t.same(problems, [])
  })

  await t.test('it is readable by day and by night', async (t) => {
    const texts = [
      'h1',
      '.kind',
      '.figure dt',
      '.figure b',
      '.legend',
      '.readout',
      '.now',
      '.viewer figcaption',
      'a',
      '.choice',
    ]
    const backgrounds: string[] = []
    for (const colorScheme of ['light', 'dark'] as const) {
      const { page } = await open(t, { colorScheme })
      for (const [selector, contrast] of Object.entries(await contrasts(page, texts)))
        t.ok(contrast >= 4.5, `${selector} ${colorScheme}: ${contrast.toFixed(1)}`)
      backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor))
    }
    t.not(backgrounds[0], backgrounds[1])
    const { page, problems } = await open(t)
    const ink = () =>
      page
        .locator('.stage .main .plain')
        .first()
        .evaluate((cell) => getComputedStyle(cell).fill)
    const before = await ink()
    await page.emulateMedia({ colorScheme: 'dark' })
    t.not(await ink(), before, 'pictures follow a change')
    t.same(problems, [])
  })

  await t.test('runs are drawn together and can be left out', async (t) => {
    const second: ReportRun = { ...run, name: 'second' }
    const { page, problems } = await open(t, {}, await pageOf(reportData(run, second)))
    const readout = () => page.locator('.chart', { hasText: 'Loss' }).locator('output').innerText()
    t.match(await readout(), /1 run: .* · 2 second: /)
    await page.getByRole('checkbox', { name: '2 second' }).uncheck()
    t.notMatch(await readout(), 'second')
    await page.getByRole('checkbox', { name: '2 second' }).check()
    t.match(await readout(), 'second')
    await page.getByRole('combobox', { name: 'Run' }).selectOption('second')
    t.equal(await page.locator('.puzzle-list button').count(), 4)
    t.same(problems, [])
  })

  await t.test("the paper's figure is a band, and says what it measures", async (t) => {
    const yellow = (page: Page) =>
      page.evaluate(() => {
        const canvas = document.querySelector<HTMLCanvasElement>('.chart canvas')!
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
        let found = 0
        for (let at = 0; at < data.length; at += 4) if (data[at]! > data[at + 2]! + 60 && data[at + 3]! > 30) found++
        return found
      })
    const plain = await open(t)
    t.equal(await yellow(plain.page), 0)
    const sudoku = await open(t, {}, await pageOf(reportData({ ...run, paper: paperFigures['sudoku-extreme'] })))
    t.ok((await yellow(sudoku.page)) > 1000)
    t.match(await textOf(sudoku.page, '.chart .legend'), "the paper's 55.0 % on Sudoku-Extreme ± 2 points.")
    const arc = await open(t, {}, await pageOf(reportData({ ...run, paper: paperFigures['arc-1'] })))
    t.match(await textOf(arc.page, '.chart .legend'), /voted over 1,000 augmentations: another measure/)
    const held = await pageOf(reportData({ ...run, paper: paperFigures['sudoku-extreme'], validation: true }))
    t.equal(await yellow((await open(t, {}, held)).page), 0, 'not beside scores of other examples')
  })

  await t.test('hostile names are shown, not run', async (t) => {
    const name = '</script><script>alert(1)</script><img src=x onerror=alert(2)>'
    const vocabulary = {
      task: 'grid',
      form: 'grid',
      rows: 4,
      columns: 4,
      answer: 'input',
      values: [null, '<b>', '"', '&', "'>", '\u2028'],
    } as const
    const config = { run_name: name, [name]: name }
    const hostile = { ...run, name, config, puzzles: { ...solved, vocabulary, task: name, checkpoint: name } }
    const data = reportData(hostile, { ...emptyRun(name), puzzles: { reason: name } })
    const { page, problems, requests } = await open(t, {}, await pageOf(data))
    t.match(await textOf(page, 'h2.run'), name)
    t.match(await textOf(page, '#facts'), name)
    t.match(await textOf(page, '#puzzles'), name)
    t.equal(await page.locator('img').count(), 0)
    await page.getByRole('combobox', { name: 'Run' }).selectOption('1')
    t.match(await textOf(page, '#puzzles'), `No puzzles: ${name}.`)
    t.same(problems, [])
    t.equal(requests.length, 1)
  })

  await t.test('a run that has only begun gives a page that says so', async (t) => {
    const { page, problems } = await open(t, {}, await pageOf(reportData(emptyRun('new'))))
    t.match(await textOf(page, '.figures'), 'no evaluation yet')
    t.match(await textOf(page, '.chart output'), 'no values yet')
    t.match(await textOf(page, '#puzzles'), 'No puzzles: none.')
    t.same(problems, [])
  })

  await t.test('a long run is drawn at once, and what was thinned is said', async (t) => {
    const story = new RunStory()
    for (let step = 1; step <= 100_000; step++) story.add(stepLine(step))
    const path = await pageOf(reportData({ ...run, metrics: story.metrics() }))
    t.ok(statSync(new URL(path)).size < 3_000_000)
    const begin = performance.now()
    const { page, problems } = await open(t, {}, path)
    t.match(await textOf(page, '#curves .note'), '100,000 logged steps are drawn as 782 points, each the mean of 128')
    t.ok(performance.now() - begin < 30_000)
    t.same(problems, [])
  })

  await t.test('with --watch the page follows the run', async (t) => {
    const dir = t.testdir()
    writeMetrics(dir, [stepLine(1), stepLine(2)])
    const controller = new AbortController()
    const watch = { puzzles: 0, port: 0, signal: controller.signal }
    const server = await ReportServer.start([await RunSource.open(dir)], watch)
    const following = server.follow()
    const { page, problems, requests } = await openUrl(t, browser, server.url)
    await page.waitForFunction(() => document.querySelector('.live')!.textContent.includes('following'))
    t.match(await textOf(page, '.figures'), 'step 2,')
    appendFileSync(join(dir, 'metrics.jsonl'), `${stepLine(3000)}\n`)
    await page.waitForFunction(() => document.querySelector('.figures')!.textContent.includes('step 3,000'))
    t.match(await page.locator('.chart .plot').nth(1).getAttribute('aria-label'), 'step 3,000')
    t.same(problems, [])
    t.same(requests, [server.url, `${server.url}events`])
    controller.abort()
    await following
    await page.waitForFunction(() => document.querySelector('.live')!.textContent.includes('not connected'))
  })
})
