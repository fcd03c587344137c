/**
 * What an app may rely on (R3.6): how it is built and started by default, and which variables tell it about its
 * place. Pure; `runtime/builders` and `runtime/environment.ts` carry it out.
 */

/** What the root of a source folder says about how it is built. */
export type SourceShape = {
  /** Names of the files in the root. */
  files: ReadonlySet<string>
  /** The scripts of package.json; null without one. */
  scripts: Readonly<Record<string, string>> | null
  /** The deployment's command, else that of app.yaml, if there is one. */
  command: readonly string[] | null
}

export type PythonDeclaration = 'requirements' | 'uv' | 'none'

/** `requirements.txt` always wins; a `pyproject.toml` counts only together with `uv.lock`. */
export function pythonDeclaration(shape: SourceShape): PythonDeclaration {
  if (shape.files.has('requirements.txt')) return 'requirements'
  return shape.files.has('pyproject.toml') && shape.files.has('uv.lock') ? 'uv' : 'none'
}

/** pnpm's lock wins over npm's; without a lock npm decides. */
export function nodeInstaller(shape: SourceShape): 'pnpm' | 'npm ci' | 'npm install' {
  if (shape.files.has('pnpm-lock.yaml')) return 'pnpm'
  return shape.files.has('package-lock.json') || shape.files.has('npm-shrinkwrap.json') ? 'npm ci' : 'npm install'
}

/** Programs that need no Python however the rest of the app looks. */
const NODE_PROGRAMS = new Set(['node', 'npm', 'npx', 'pnpm', 'yarn'])
/** Programs that need it, in an app that has a package.json, too. */
const PYTHON_PROGRAMS = /^(?:python[\d.]*|uvicorn|gunicorn|hypercorn|flask|fastapi|streamlit|gradio|shiny|mlflow)$/

/** Whether a Python environment is built: because it is declared, or because nothing else can run the command. */
export function needsPython(shape: SourceShape): boolean {
  if (pythonDeclaration(shape) !== 'none') return true
  const program = shape.command?.[0] ?? ''
  if (shape.scripts === null) return !NODE_PROGRAMS.has(program)
  return PYTHON_PROGRAMS.test(program) || commandOf(shape)?.[0] === 'python'
}

/**
 * The command: app.yaml's, else `npm run start` wherever there is a package.json with that script (even if Python is
 * there too), else `python` with the first .py file of the root. Null when there is nothing to run.
 */
export function commandOf(shape: SourceShape): string[] | null {
  if (shape.command !== null) return [...shape.command]
  if (shape.scripts?.start !== undefined) return ['npm', 'run', 'start']
  const file = firstPython(shape)
  return file === undefined ? null : ['python', file]
}

/** The first by name, as a listing of the folder shows it. */
function firstPython(shape: SourceShape): string | undefined {
  return [...shape.files].filter((file) => file.endsWith('.py')).sort()[0]
}

/** Runs when the dependencies are installed, before the app is started. */
export const BUILD_SCRIPT = 'build'

/**
 * Variables that get the port the instance has to listen on. The first is the contract; the others are what the
 * frameworks read by themselves, so that their apps need no code for it.
 */
export const PORT_VARIABLES = [
  'DATABRICKS_APP_PORT',
  'PORT',
  'GRADIO_SERVER_PORT',
  'STREAMLIT_SERVER_PORT',
  'UVICORN_PORT',
  'FLASK_RUN_PORT',
] as const

/** What an app finds unless it says otherwise: frameworks listen on every address and print without delay. */
export const DEFAULT_VARIABLES: Readonly<Record<string, string>> = {
  PYTHONUNBUFFERED: '1',
  // The instance's directory is fresh at every start and its layers are compiled and shared: nothing is worth writing.
  PYTHONDONTWRITEBYTECODE: '1',
  GRADIO_SERVER_NAME: '0.0.0.0',
  GRADIO_ANALYTICS_ENABLED: 'false',
  UVICORN_HOST: '0.0.0.0',
  FLASK_RUN_HOST: '0.0.0.0',
  STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION: 'false',
  STREAMLIT_SERVER_ENABLE_CORS: 'false',
  STREAMLIT_SERVER_HEADLESS: 'true',
  STREAMLIT_BROWSER_GATHER_USAGE_STATS: 'false',
}

/** Names that the platform alone sets: an app that could change them would only cut itself off. */
export const FIXED_VARIABLES: ReadonlySet<string> = new Set([
  'DATABRICKS_APP_NAME',
  'DATABRICKS_APP_PORT',
  'DATABRICKS_APP_URL',
  'DATABRICKS_WORKSPACE_ID',
  'STREAMLIT_SERVER_ADDRESS',
  'STREAMLIT_SERVER_PORT',
  'COPPICE_APP',
  'COPPICE_SLOT',
  'COPPICE_DEPLOYMENT',
  'COPPICE_INSTANCE_ID',
  'HOME',
  'TMPDIR',
])
