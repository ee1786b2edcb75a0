/** What a look at one thing has found, in words for people; never a secret. */
export interface Finding {
  ok: boolean
  message: string
  /** Where it is not ok: which command or variable mends it. */
  hint?: string
}

/** One thing that the doctor looks at. */
export interface Check {
  /** A word that stays what it is, for programs. */
  name: string
  /** Undefined: it does not apply here. May throw, and may take its time: the doctor waits no longer than it wants to. */
  look(): Promise<Finding | undefined>
}
