import type { ApiDocument, Operation } from '../openapi/document'
import { head } from './head'
import { type Html, html } from './html'

/** What is shown of a schema. */
interface Schema {
  $ref?: string
  type?: string
  format?: string
  description?: string
  enum?: readonly unknown[]
  const?: unknown
  properties?: Record<string, Schema>
  required?: readonly string[]
  items?: Schema
}

type Content = Record<string, { schema?: Schema }>

/** Operations of one path that differ in the method alone are shown as one. */
interface Entry {
  path: string
  methods: string[]
  operation: Operation
}

const CALLERS: Record<string, string> = {
  ownerKey: 'The owner’s key',
  toolKey: 'A tool’s key',
  session: 'An unlocked browser',
}

/**
 * The API's description as a page: markup alone, without a script.
 * @param origin where the service is, for the examples
 */
export function docsPage(document: ApiDocument, origin = 'https://keeper.example'): string {
  const { info, tags, components } = document
  const entries = entriesOf(document)
  return html`<!doctype html>
<html lang="en">
  ${head(`API · ${info.title}`, 'data:,')}
  <body class="docs">
    <header class="top"><a href="/">${info.title}</a></header>
    <main class="card">
      <h1>The API</h1>
      <p>${info.description}</p>
      <p class="help">
        Version ${info.version}. For programs, and for making clients: <a href="/_openapi.json">/_openapi.json</a>, OpenAPI ${document.openapi}.
      </p>
      <dl>${Object.entries(components.securitySchemes).map(
        ([name, { description }]) => html`
        <div><dt>${CALLERS[name]}</dt><dd>${description}</dd></div>`,
      )}
      </dl>
      <p>The examples below want this first:</p>
      ${example(`KEEPER='${origin}'\nAUTH='Authorization: Bearer …'`)}
      <nav aria-label="Contents">
        <ul>${entries.map(
          (entry) => html`
          <li><a href="#${entry.operation.operationId}">${nameOf(entry)}</a> ${entry.operation.summary}</li>`,
        )}
          <li><a href="#errors">Errors</a></li>
        </ul>
      </nav>
      ${tags.map(
        ({ name, description }) => html`
      <section aria-labelledby="tag-${name}">
        <h2 id="tag-${name}">${name}</h2>
        <p class="help">${description}</p>
        ${entries.filter(({ operation }) => operation.tags?.includes(name)).map((entry) => article(entry, document))}
      </section>`,
      )}
      <section aria-labelledby="errors">
        <h2 id="errors">Errors</h2>
        <p class="help">Every error has one shape, and its code in the header Keeper-Error as well.</p>
        ${fields(components.schemas.Error, document)}
        <dl>${Object.entries(components.responses).map(
          ([name, failure]) => html`
          <div id="${name}"><dt>${codesOf(failure.content)}</dt><dd>${failure.description}</dd></div>`,
        )}
        </dl>
      </section>
    </main>
  </body>
</html>
`.markup
}

/** Sorted by their tags. */
function entriesOf({ paths, tags }: ApiDocument): Entry[] {
  const rank = ({ operation }: Entry) => tags.findIndex(({ name }) => operation.tags?.includes(name))
  const entries = Object.entries(paths).flatMap(([path, operations]) => {
    const entries: Entry[] = []
    for (const [method, operation] of Object.entries(operations)) {
      const alike = entries.find((entry) => entry.operation.summary === operation.summary)
      if (!alike) entries.push({ path, methods: [method.toUpperCase()], operation })
      else alike.methods.push(method.toUpperCase())
      // The one with a body says more.
      if (alike && operation.requestBody) alike.operation = { ...operation, operationId: alike.operation.operationId }
    }
    return entries
  })
  return entries.sort((a, b) => rank(a) - rank(b))
}

const nameOf = ({ path, methods }: Entry) => `${methods.join(', ')} ${path}`

function article(entry: Entry, document: ApiDocument): Html {
  const { operation } = entry
  const parameters = (operation.parameters ?? []).map((one) => resolve<Parameter>(one, document))
  const errors = errorsOf(operation, document)
  const body = operation.requestBody && resolve<Body>(operation.requestBody, document)
  return html`
        <article aria-labelledby="${operation.operationId}">
          <h3 id="${operation.operationId}"><code>${nameOf(entry)}</code></h3>
          <p><strong>${operation.summary}.</strong> ${operation.description}</p>
          <dl>
            <div><dt>Who may call</dt><dd>${callersOf(operation, document)}</dd></div>
            ${
              parameters.length > 0 &&
              html`<div><dt>Parameters</dt><dd><ul>${parameters.map(
                ({ name, in: place, required, schema, description }) =>
                  field(name, { ...schema, description }, `in the ${place}${required ? '' : ', optional'}`, document),
              )}</ul></dd></div>`
            }
            ${body && html`<div><dt>Body</dt><dd>${body.description}${shapes(body.content, document)}</dd></div>`}
            <div><dt>Answers</dt><dd><ul>${answersOf(operation, document)}</ul></dd></div>
            ${errors.length > 0 && html`<div><dt>Errors</dt><dd><ul class="row">${errors}</ul></dd></div>`}
          </dl>
          ${example(curl(entry))}
        </article>`
}

interface Body {
  description?: string
  content: Content
}

interface Parameter {
  name: string
  in: string
  required?: boolean
  description?: string
  schema?: Schema
}

function callersOf(operation: Operation, document: ApiDocument): string {
  const names = (operation.security ?? document.security).flatMap((one) => Object.keys(one))
  return names.length > 0 ? names.map((name) => CALLERS[name] ?? name).join(' · ') : 'Everybody'
}

function answersOf({ responses = {} }: Operation, document: ApiDocument): Html[] {
  const own = Object.entries(responses).filter(([, response]) => !('$ref' in response))
  return own.map(([status, response]) => {
    const { description, content = {}, headers = {} } = response as Answer
    const names = Object.keys(headers).join(', ')
    return html`<li><strong>${status}</strong> ${description}${names && ` Header: ${names}.`}${shapes(content, document)}</li>`
  })
}

/** Errors are alike everywhere, and described once, at the end. */
function errorsOf({ responses = {} }: Operation, document: ApiDocument): Html[] {
  const shared = Object.entries(responses).filter(([, response]) => '$ref' in response)
  return shared.map(([status, response]) => {
    const name = String((response as { $ref: string }).$ref)
      .split('/')
      .pop()
    const { content = {} } = resolve<Answer>(response, document)
    return html`<li><a href="#${name}">${status}</a> ${codesOf(content)}</li>`
  })
}

interface Answer {
  description: string
  headers?: Record<string, unknown>
  content?: Content
}

function codesOf(content: Content): Html[] {
  const { error } = content['application/json']?.schema?.properties ?? {}
  return (error?.enum ?? []).map((code) => html`<code>${String(code)}</code> `)
}

function shapes(content: Content, document: ApiDocument): Html[] {
  return Object.entries(content).map(
    ([type, { schema }]) => html`<p class="help">${type}</p>${schema && fields(schema, document)}`,
  )
}

/** The properties of an object, or of a list's objects, as deep as they go. */
function fields(schema: Schema, document: ApiDocument): Html | undefined {
  const { properties, required = [], items } = resolve<Schema>(schema, document)
  if (items) return fields(items, document)
  if (!properties) return undefined
  return html`<ul class="fields">${Object.entries(properties).map(([name, property]) =>
    field(name, property, required.includes(name) ? '' : 'optional', document),
  )}</ul>`
}

function field(name: string, schema: Schema, remark: string, document: ApiDocument): Html {
  const words = [kindOf(resolve<Schema>(schema, document)), remark].filter(Boolean).join(', ')
  return html`<li><code>${name}</code> <span class="aside">${words}</span> ${schema.description}${fields(schema, document)}</li>`
}

function kindOf(schema: Schema): string {
  if (schema.enum) return schema.enum.join(' | ')
  if (schema.const !== undefined) return String(schema.const)
  return [schema.type, schema.format].filter(Boolean).join(', ')
}

function resolve<T extends object>(thing: object, document: ApiDocument): T {
  if (!('$ref' in thing)) return thing as T
  const steps = String(thing.$ref).split('/').slice(1)
  return steps.reduce((at: unknown, step) => (at as Record<string, unknown>)[step], document) as T
}

function example(lines: string): Html {
  return html`<pre><code>${lines}</code></pre>`
}

function curl({ path, methods, operation }: Entry): string {
  const isOpen = operation.security?.length === 0
  const schema = (operation.requestBody as Body | undefined)?.content['application/json']?.schema
  const body = JSON.stringify(Object.fromEntries(Object.keys(schema?.properties ?? {}).map((name) => [name, '…'])))
  return [
    'curl',
    !methods.includes('GET') && `-X ${methods[0]}`,
    !isOpen && '-H "$AUTH"',
    schema && `-H 'Content-Type: application/json' -d '${body}'`,
    `"$KEEPER${path.replace(/\{\w+\}/g, '…')}"`,
  ]
    .filter(Boolean)
    .join(' ')
}
