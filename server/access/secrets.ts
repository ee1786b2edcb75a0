import { isStorageError, type TokenStore } from '../../storage'
import { hex, randomHex } from '../hex'
import { sha256 } from '../sha256'
import { parseJson } from '../yoto/outcome'

export const KEEPER_KEY = '.yoto_keeper_key'
export const SESSION_SECRET = '.yoto_session_secret'

/** 256 random bits in hexadecimal. */
export function randomSecret(): string {
  return randomHex(256)
}

/** Reads a value, or makes it once: of several instances that start at the same time, all use the one that was first. */
export async function readOrMake(store: TokenStore, key: string, make: () => string): Promise<string> {
  for (;;) {
    const stored = await store.read(key)
    if (stored) return stored
    const made = make()
    try {
      await store.write(key, made, stored)
      return made
    } catch (error) {
      if (!isStorageError(error, 'conflict')) throw error
    }
  }
}

/** Compares without telling by its duration how much was right: both sides are hashed first. */
export function equal(a: string, b: string): boolean {
  return equalDigests(sha256(a), sha256(b))
}

/** In constant time. */
export function equalDigests(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let at = 0; at < a.length; at++) difference |= a.charCodeAt(at) ^ b.charCodeAt(at)
  return difference === 0
}

/** HMAC-SHA-256 in hexadecimal. */
export async function sign(secret: string, text: string): Promise<string> {
  const encoder = new TextEncoder()
  const key = await crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
  ])
  const mac = await crypto.subtle.sign('HMAC', key, encoder.encode(text))
  return hex(mac)
}

/** `.yoto_keeper_key`: a key that was made because none was set. */
export interface MadeKey {
  key: string
  /** It has been shown once: its link is no longer printed. */
  used: boolean
}

export function parseMadeKey(text: string): MadeKey | undefined {
  const value = parseJson(text) as Partial<MadeKey> | undefined
  return typeof value?.key === 'string' && value.key.length >= 16
    ? { key: value.key, used: value.used === true }
    : undefined
}
