/** Where the page and its files are: open to all, and the same for all. */
export const PAGE_FILES = [
  '/',
  '/style.css',
  '/client.js',
  '/client/ask.js',
  '/client/doctor.js',
  '/client/history.js',
  '/client/parts.js',
  '/client/timeline.js',
  '/client/use-it.js',
]
