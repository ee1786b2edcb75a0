import { type Html, html } from './html'

/** What every page has in common before its body; `more` comes after it. */
export function head(title: string, icon: string, more?: Html): Html {
  return html`<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta name="theme-color" content="#f6f1e8" media="(prefers-color-scheme: light)">
    <meta name="theme-color" content="#16131f" media="(prefers-color-scheme: dark)">
    <meta name="referrer" content="no-referrer">
    <meta name="robots" content="noindex">
    <title>${title}</title>
    <link rel="icon" href="${icon}">
    <link rel="stylesheet" href="/style.css">${more}
  </head>`
}
