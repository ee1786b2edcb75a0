import type { Config } from '../config'
import type { Condition } from './condition'

/** The JSON that is sent. Our own words only: neither Yoto's nor a path, as whoever knows an ntfy topic reads along. */
export interface Notice {
  title: string
  message: string
  condition: Condition
  /** When it began; ISO 8601 in UTC. */
  at: string
  hint?: string
  /** Of the page. */
  url?: string
}

const WORDS: Record<Condition, { title: string; message: string; hint?: string }> = {
  lost: {
    title: 'Yoto: sign in again',
    message: 'The sign-in to Yoto is lost, and the token can no longer be renewed.',
    hint: 'Sign in again on the page.',
  },
  not_saved: {
    title: 'Yoto: the sign-in cannot be saved',
    message: 'The place where the sign-in is kept cannot be read or written. At the next restart it may be lost.',
    hint: 'The page says what is wrong.',
  },
  running_out: {
    title: 'Yoto: the token is running out',
    message: 'Yoto has not renewed the access token, which has run out or is about to.',
    hint: 'It goes on by itself when Yoto can be reached; look whether the network here is at fault.',
  },
  well: {
    title: 'Yoto: all is well again',
    message: 'The sign-in to Yoto works again and is saved. Nothing needs to be done.',
  },
}

/** @param hint what mends this very case, where that is known */
export function noticeOf(condition: Condition, at: string, { publicUrls }: Config, hint?: string): Notice {
  const [address] = publicUrls
  return { ...WORDS[condition], ...(hint && { hint }), condition, at, url: address && new URL(address).href }
}
