/** Defaults of the settings that people and admins can change. Units in names. */
export const DEFAULTS = {
  /** R2.3 */
  maxInstancesPerApp: 5,
  maxScaledApps: 5,
  /** How long a new instance may take to become healthy. Heroku gives 60 s; the API's health_check.timeout changes it. */
  healthTimeoutMs: 60_000,
  /** How long an instance may send no byte while somebody waits for one (R12.2): a busy app is not dead. */
  silenceMs: 15_000,
  /** How long one that was given up for that may go on before the worker starts it again. */
  restartSilentAfterMs: 120_000,
  /** How long a build may take. GitLab gives a job an hour, Heroku a build 15 minutes; the step has 30. */
  buildTimeoutMs: 25 * 60_000,
  /** kamal-proxy and Kubernetes both give 30 s. */
  drainTimeoutMs: 30_000,
  /** SIGTERM to SIGKILL, as in the runtime contract (docs/rules.md R3.6). */
  stopGraceMs: 15_000,
  /** How long a router counts after its last report (R12.10) … */
  routerLeaseMs: 10_000,
  /** … and what is added for clocks and scheduling. */
  routerLeaseMarginMs: 2_000,
} as const

/**
 * What one record (an event, the failure of an operation, an instance) keeps of a log, in bytes of JSON; the newest lines
 * stay. Thirty lines of 2,000 characters would be up to 180 KB, and there are thousands of records.
 */
export const RECORD_LINES_BYTES = 16 * 1024
