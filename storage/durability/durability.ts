/** How durable a store is, as it says itself. */
export interface Durability {
  /** Whether what is stored outlives a crash of the store; undefined: it does not say. */
  lasts: boolean | undefined
  /** For people: what it does, and what can be lost. */
  message: string
  /** What mends it, where it can be better. */
  hint?: string
}
