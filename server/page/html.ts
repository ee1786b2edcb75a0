/** Markup that may stand in a page as it is. Only `html` makes it, so that everything else is escaped. */
export class Html {
  constructor(readonly markup: string) {}
}

type Part = Html | string | number | false | undefined | Part[]

/** A template of markup: html`<p>${text}</p>`. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...parts.map(markupOf)))
}

function markupOf(part: Part): string {
  if (part === undefined || part === false) return ''
  if (part instanceof Html) return part.markup
  if (Array.isArray(part)) return part.map(markupOf).join('')
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
