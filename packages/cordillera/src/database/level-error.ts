/** The errors that `abstract-level` and `classic-level` name and do not export. */
export class LevelError extends Error {
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** A read was ended by its `AbortSignal`. */
export class AbortError extends LevelError {
  constructor(cause?: unknown) {
    super('LEVEL_ABORTED', 'Operation has been aborted', cause)
    // As the platform's own are called.
    this.name = 'AbortError'
  }
}
