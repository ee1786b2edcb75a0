import { StorageError, sentence } from '../storage/errors'

/** The codes of DESIGN's error shape, and the HTTP status each is sent with. */
const STATUS = {
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  signed_out: 409,
  needs_sign_in: 409,
  too_large: 413,
  too_many_requests: 429,
  yoto_error: 502,
  not_configured: 503,
  storage_unavailable: 503,
  yoto_unreachable: 503,
  yoto_timeout: 504,
  internal_error: 500,
} as const

export type ErrorCode = keyof typeof STATUS

export const ERROR_CODES = Object.keys(STATUS) as ErrorCode[]

/** The codes that are sent with a status. */
export function codesOf(status: number): ErrorCode[] {
  return ERROR_CODES.filter((code) => STATUS[code] === status)
}

/** Every failure that a caller may see: what happened (`message`) and, where there is one, the mend (`hint`). Never a secret. */
export class KeeperError extends Error {
  override readonly name = 'KeeperError'
  readonly hint?: string
  /** Milliseconds after which asking again makes sense. */
  readonly retryAfter?: number

  constructor(
    readonly code: ErrorCode,
    message: string,
    { hint, retryAfter }: { hint?: string; retryAfter?: number } = {},
  ) {
    super(message) // without a cause: h3 would take that for the error
    this.hint = hint
    this.retryAfter = retryAfter
  }

  get status(): number {
    return STATUS[this.code]
  }

  toJSON(): { error: ErrorCode; message: string; hint?: string } {
    return { error: this.code, message: this.message, hint: this.hint }
  }
}

/** A failure of the store in the words of the API; other errors are returned as they are. */
export function fromStorage(error: unknown): unknown {
  if (!(error instanceof StorageError)) return error
  return new KeeperError('storage_unavailable', sentence(error.message), { hint: error.hint })
}
