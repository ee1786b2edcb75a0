/** Bytes in hexadecimal. */
export function hex(bytes: ArrayBuffer | Uint8Array): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Random bits in hexadecimal, from the platform's cryptographic source. */
export function randomHex(bits: number): string {
  return hex(crypto.getRandomValues(new Uint8Array(bits / 8)))
}
