/** A preset's built output on its real runtime: what the list in list.ts is run over. */
export interface Platform {
  preset: string
  /** Name and version of the runtime, as it says itself. */
  runtime(): Promise<string>
  /** Where its state is kept in these tests. */
  store: 'files' | 'redis' | 'upstash' | 'durable-object'
  /**
   * Starts the output, or puts it behind an HTTP server where it is a function, on a loopback address.
   * @param built the folder that build.ts has built the preset in
   * @param env exactly what it sees beside PATH and HOME; where its state is kept is in it, or beside it in `cwd`
   */
  start(options: { built: string; env: Record<string, string>; cwd: string }): Promise<Running>
  /** What it cannot do, by the name of the check, and why: shown in the table, and never skipped in silence. */
  cannot?: Record<string, string>
}

export interface Running {
  url: string
  /** What was written to stdout and stderr so far. */
  log(): string
  /** As a redeployment or a fresh isolate: nothing that was in memory is left. */
  restart(): Promise<void>
  stop(): Promise<void>
}
