/**
 * The one error table (house style 5). Everything that goes wrong in a way people can do something about has a row
 * here; `control/` maps rows to HTTP, `cli/` to output, `activities/` and `workflows/` to ApplicationFailure, each in
 * one function. `docs/errors.md` is generated from it.
 */

export type ErrorRow = {
  /** HTTP status of the API. */
  readonly status: number
  /** `error_code` of the product's API, when ours is finer than the one its clients know. */
  readonly apiCode: string
  /** What to do about it; completes the message. */
  readonly hint: string
  /** Whether the same call can succeed later without anything being mended. */
  readonly retryable: boolean
}

const row = (status: number, apiCode: string, retryable: boolean, hint: string): ErrorRow => ({
  status,
  apiCode,
  retryable,
  hint,
})

export const ERRORS = {
  InvalidInput: row(400, 'INVALID_PARAMETER_VALUE', false, 'Correct the named field and send it again.'),
  Unauthenticated: row(
    401,
    'UNAUTHENTICATED',
    false,
    'Send "Authorization: Bearer <token>": the one in the file "token" of the data directory, or one that an admin made with "coppice tokens create".',
  ),
  ForeignOrigin: row(
    403,
    'PERMISSION_DENIED',
    false,
    'Call it from a program, from a page of its own, or by an address or "localhost"; web pages of others may not.',
  ),
  UnsupportedMediaType: row(415, 'INVALID_PARAMETER_VALUE', false, 'Say so in the header Content-Type.'),
  PermissionDenied: row(403, 'PERMISSION_DENIED', false, 'Ask a workspace admin.'),
  NotFound: row(404, 'RESOURCE_DOES_NOT_EXIST', false, 'List what there is: coppice apps list.'),
  NoSuchEndpoint: row(404, 'ENDPOINT_NOT_FOUND', false, 'Check the path and the method.'),
  AlreadyExists: row(409, 'RESOURCE_ALREADY_EXISTS', false, 'Choose another name, or delete the other one first.'),
  OperationInProgress: row(409, 'RESOURCE_CONFLICT', true, 'Wait until it has ended, or cancel it.'),
  ForeignWorkflow: row(
    409,
    'RESOURCE_CONFLICT',
    false,
    'End that workflow, or let it finish, and start the operation again. Workflows of your own should have ids that do not begin with "app/".',
  ),
  OperationEnded: row(409, 'INVALID_STATE', false, 'Start a new operation.'),
  TooLateToCancel: row(
    409,
    'INVALID_STATE',
    false,
    'It has passed its pivot and completes; start another operation afterwards.',
  ),
  InvalidState: row(400, 'INVALID_STATE', false, 'See the state: coppice apps get NAME.'),
  LimitExceeded: row(
    400,
    'RESOURCE_LIMIT_EXCEEDED',
    false,
    'A workspace admin can raise the limit: coppice workspace set --max-instances-per-app N, or --max-scaled-apps N.',
  ),
  PreviewDisabled: row(
    403,
    'FEATURE_DISABLED',
    false,
    'A workspace admin can turn the preview on: coppice workspace set --horizontal-scaling on.',
  ),
  SourceNotFound: row(
    400,
    'INVALID_PARAMETER_VALUE',
    false,
    'Name a folder under a configured source root, or upload one: coppice apps deploy NAME --source DIR.',
  ),
  SourceRefused: row(
    400,
    'INVALID_PARAMETER_VALUE',
    false,
    'Take the named file out of the source, or list it in .gitignore.',
  ),
  AppConfigInvalid: row(400, 'INVALID_PARAMETER_VALUE', false, 'Correct app.yaml and deploy again.'),
  NoCommand: row(
    400,
    'INVALID_PARAMETER_VALUE',
    false,
    'Add an app.yaml with a "command", a package.json with a "start" script, or a .py file.',
  ),
  SecretMissing: row(
    400,
    'INVALID_PARAMETER_VALUE',
    false,
    'Set it first (coppice apps secrets set APP NAME), then deploy again.',
  ),
  SecretInUse: row(
    409,
    'RESOURCE_CONFLICT',
    false,
    'Deploy a version that does not name it first; or delete it all the same: coppice apps secrets delete APP NAME --force (in the API: ?force=true).',
  ),
  BuildFailed: row(400, 'BUILD_FAILED', false, 'Read the build log above, mend the cause and deploy again.'),
  ToolMissing: row(500, 'INTERNAL_ERROR', false, 'Run "coppice doctor"; it says what is missing and how to get it.'),
  AppCrashedAtStart: row(
    400,
    'APP_CRASHED',
    false,
    'Read the log lines above; the same command can be run in the source folder.',
  ),
  InstanceLost: row(
    400,
    'APP_CRASHED',
    false,
    'Read the log lines above; the app was healthy first, so look at what it does after its start.',
  ),
  AppListensOnLoopback: row(
    400,
    'APP_LISTENS_ON_LOOPBACK',
    false,
    'Listen on 0.0.0.0 (or ::) instead; a scaled app must be reachable from other machines.',
  ),
  AppListensOnWrongPort: row(
    400,
    'APP_LISTENS_ON_WRONG_PORT',
    false,
    'Listen on the port in the environment variable DATABRICKS_APP_PORT.',
  ),
  AppDoesNotListen: row(
    400,
    'APP_DOES_NOT_LISTEN',
    false,
    'Listen on 0.0.0.0 at the port in DATABRICKS_APP_PORT, or raise the timeout of the health check if the app needs longer to start.',
  ),
  HealthCheckFailed: row(
    400,
    'HEALTH_CHECK_FAILED',
    false,
    'Make the health check path answer below 400, or name another path in health_check.',
  ),
  HealthCheckTimedOut: row(
    400,
    'HEALTH_CHECK_TIMED_OUT',
    false,
    'The app accepts connections but does not answer; look at its log lines above.',
  ),
  PortUnavailable: row(503, 'TEMPORARILY_UNAVAILABLE', true, 'Free some ports of the configured range, or widen it.'),
  DiskFull: row(
    507,
    'RESOURCE_EXHAUSTED',
    true,
    'Free disk space, then try again; "coppice doctor" says how much there is.',
  ),
  TooManyStreams: row(
    429,
    'REQUEST_LIMIT_EXCEEDED',
    true,
    'Close streams that nobody reads any more, or raise the bound: --max-streams and --max-streams-per-token of the control plane.',
  ),
  TooManyUploads: row(
    429,
    'REQUEST_LIMIT_EXCEEDED',
    true,
    'Send it again when one of them has ended, or raise the bound: --max-uploads and --max-uploads-per-token of the control plane.',
  ),
  BodyTimedOut: row(
    408,
    'DEADLINE_EXCEEDED',
    true,
    'Send it again; where the line stalls for longer, raise --body-stall-ms of the control plane.',
  ),
  InstanceRetired: row(409, 'INVALID_STATE', false, 'The instance has been told to go and does not come back.'),
  Fenced: row(409, 'INVALID_STATE', false, 'Another operation owns the app now; nothing was changed.'),
  RoutersUnreachable: row(
    503,
    'TEMPORARILY_UNAVAILABLE',
    true,
    'Start the control plane and a router; the saga goes on by itself.',
  ),
  StoreNewer: row(
    500,
    'INTERNAL_ERROR',
    false,
    'Run the newer version of Coppice, or restore a backup made by this one.',
  ),
  SecretKeyLost: row(
    500,
    'INTERNAL_ERROR',
    false,
    'Put the file "secret.key" of the data directory back; every backup has it. If it is lost for good, make a new one ("openssl rand -hex 32 > secret.key" there), set every secret again, and deploy again with their environment values the apps that have some.',
  ),
  Unavailable: row(503, 'TEMPORARILY_UNAVAILABLE', true, 'Try again in a moment.'),
  Terminated: row(500, 'OPERATION_TERMINATED', false, 'Start the operation again.'),
  Cancelled: row(499, 'CANCELLED', false, 'Nothing was changed; start the operation again when you want it.'),
  Internal: row(500, 'INTERNAL_ERROR', false, 'This is a defect of Coppice; the logs in the data directory tell more.'),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

export type ErrorDetails = {
  /** The field of the input that is wrong, e.g. `health_check.timeout`. */
  field?: string
  /** The step that failed, in plain words. */
  step?: string
  /** The last log lines of the app or of its build. */
  logLines?: string[]
  /** What the undo could not do. */
  undoFailures?: string[]
  [key: string]: unknown
}

/** Messages travel through Temporal, which refuses large ones, and are kept; they quote paths and lines of any length. */
const MAX_MESSAGE_CHARS = 8_000

export function cutMessage(message: string): string {
  return message.length > MAX_MESSAGE_CHARS ? `${message.slice(0, MAX_MESSAGE_CHARS)} …` : message
}

export class CoppiceError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(cutMessage(message), options)
    this.name = 'CoppiceError'
    this.code = code
    this.details = details
  }

  get row(): ErrorRow {
    return ERRORS[this.code]
  }
}

export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(ERRORS, text)
}

/** The message with what to do about it, as every door shows it. */
export function withHint(code: ErrorCode, message: string): string {
  const end = /[.!?]$/.test(message) ? '' : '.'
  return `${message}${end} ${ERRORS[code].hint}`
}
