import { expect, it } from 'vitest'
import type { ApiDocument } from '../../server/openapi/document'
import { docsPage } from '../../server/page/docs'

it('lets nothing of the document or the address become markup', () => {
  const hostile = `'"><script src=x>&`
  const schema = {
    type: hostile,
    description: hostile,
    properties: { [hostile]: { enum: [hostile] } },
    items: undefined,
  }
  const operation = {
    ...{ operationId: hostile, tags: [hostile], summary: hostile, description: hostile },
    security: [{ [hostile]: [] }],
    parameters: [{ name: hostile, in: hostile, description: hostile, schema }],
    requestBody: { content: { [hostile]: { schema } } },
    responses: { [hostile]: { description: hostile, headers: { [hostile]: {} }, content: { [hostile]: { schema } } } },
  }
  const document = {
    ...{ openapi: hostile, info: { title: hostile, version: hostile, description: hostile } },
    ...{
      security: [],
      tags: [{ name: hostile, description: hostile }],
      paths: { [hostile]: { [hostile]: operation } },
    },
    components: {
      schemas: { Error: schema },
      responses: { [hostile]: { description: hostile, content: {} } },
      securitySchemes: { [hostile]: { description: hostile } },
    },
  } as unknown as ApiDocument
  const page = docsPage(document, hostile)
  expect(page.match(/<script|"">|'">/g)).toBeNull()
  // Once escaped, and not twice.
  expect(page).toContain('&#39;&#34;&#62;&#60;script src=x&#62;&#38;')
  expect(page).not.toContain('&#38;#')
})
