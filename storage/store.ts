/** What the service keeps state in, and every store is: strings, kept byte for byte. All of it rejects with StorageError. */
export interface TokenStore {
  /** Null when there is none. */
  read(key: string): Promise<string | null>
  /**
   * Durable before it resolves. One that is repeated, as its answer was lost, finds its own value and is no conflict.
   * @param onlyIf write only if this is what is stored (null: nothing is), otherwise StorageError `conflict`; undefined: unconditionally
   */
  write(key: string, value: string, onlyIf?: string | null): Promise<void>
  /** Does not mind when there is none. */
  remove(key: string): Promise<void>
  keys(): Promise<string[]>
}
