import fc from 'fast-check'
import t from 'tap'
import { reportPage, scriptJson } from '#dist/report/page.js'
import { emptyRun, reportData } from './fixtures.js'

/** What a browser would take as the data: the text up to the end of the script element. */
function dataOf(page: string): unknown {
  const begin = page.indexOf('<script type="application/json" id="report-data">')
  const text = page.slice(page.indexOf('>', begin) + 1)
  return JSON.parse(text.slice(0, text.indexOf('</script>')))
}

t.test('the page holds its data once, and loads nothing', async (t) => {
  const page = await reportPage(reportData(emptyRun('a'), emptyRun('b')))
  t.same(dataOf(page), reportData(emptyRun('a'), emptyRun('b')))
  t.equal(page.match(/id="report-data"/g)?.length, 1)
  t.match(page, /Content-Security-Policy[^>]*default-src 'none'/)
  const markup = page.replace(/<script[^]*?<\/script>/g, '').replace(/<style[^]*?<\/style>/g, '')
  t.notMatch(markup, /\bsrc=/, 'no scripts and pictures of other files')
  t.notMatch(markup, /href="(?!data:)/, 'no style sheets of other files')
  t.notMatch(page, /@import|url\((?!["']?data:)/)
  t.equal(page, await reportPage(reportData(emptyRun('a'), emptyRun('b'))), 'the same bytes again')
})

t.test('hostile names stay data', async (t) => {
  for (const name of ['</script><script>alert(1)</script>', '<!--<script>', '\u2028\u2029', '$&$`$1', ']]>']) {
    const page = await reportPage(reportData(emptyRun(name)))
    t.same(dataOf(page), reportData(emptyRun(name)), name)
  }
})

t.test('no text ends its script element, and all of it comes back', async () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('<', '/', '!', '-', 's', '\u2028', '\u2029', '\\', '"', '$') }),
      (text) => {
        const json = scriptJson({ text })
        return !/[<\u2028\u2029]/.test(json) && (JSON.parse(json) as { text: string }).text === text
      },
    ),
  )
})
