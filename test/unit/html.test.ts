import { expect, it } from 'vitest'
import { dataBlock, html } from '../../server/page/html'

it('escapes what is put into markup, once', () => {
  const inner = html`<b>${'<&>'}</b>`
  expect(html`<p title="${'"'}">${inner}${[1, false, undefined]}</p>`.markup).toBe(
    '<p title="&#34;"><b>&#60;&#38;&#62;</b>1</p>',
  )
})

it('lets no data end its block, and keeps it as it was', () => {
  const data = { text: '</script><!--<script>&amp;"\u2028' }
  const { markup } = html`${dataBlock('texts', data)}`
  const [, json = ''] = /^<script type="application\/json" id="texts">(.*)<\/script>$/s.exec(markup) ?? []
  expect(json).not.toContain('<')
  expect(JSON.parse(json)).toEqual(data)
})
