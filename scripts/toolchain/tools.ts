import type { VersionRange } from './version.ts'

/**
 * The outside tools: which versions do, where their users keep them, and where they come from. Resolved by
 * `resolve.ts` in the order of DESIGN D15.
 */
export type ToolName = 'temporal' | 'k6' | 'uv' | 'chromium'

/** What is being done, and how far it is; the same words again are the same thing, further on. */
export type OnProgress = (words: string, detail?: string) => void

export type Tool = {
  name: ToolName
  /** What it is for, in messages. */
  purpose: string
  /** Names a path to it; believed before anything else. */
  variable: string
  /** Program names to look for, in PATH and then in `places`. */
  programs: string[]
  /** Folders (or, beginning with `=`, files) outside PATH where installers put it; `~` is the home. */
  places: string[]
  versionArgs: string[]
  /** Finds the version in what the tool prints. */
  versionPattern: RegExp
  range: VersionRange
  /** Tried in order when it is not there. */
  sources: Source[]
  /** For people: how to get it by hand. */
  byHand: string
}

export type Source =
  | { kind: 'release'; version: string; asset: (platform: Platform) => ReleaseAsset | null }
  | { kind: 'goInstall'; module: string; version: string; program: string }
  | { kind: 'pypi'; project: string; version: string; oldest: string; program: string }
  | { kind: 'playwright' }
  | { kind: 'apt'; packages: string[] }

export type ReleaseAsset = {
  url: string
  /** A pinned checksum, or the address of the release's own list of them. */
  checksum: { sha256: string } | { list: string }
  program: string
}

export type Platform = { os: 'linux' | 'darwin'; cpu: 'x64' | 'arm64' }

/**
 * Server 1.29 is the first that does without flags what the sagas need; the CLI's own version says less (built from
 * source it is 0.0.0-DEV), and database files are named by the server's.
 */
const TEMPORAL_VERSION = '1.5.1'

/** As listed for this release in two independent public package indexes. */
const TEMPORAL_SHA256: Record<string, string> = {
  linux_amd64: 'ddc95e08b0b076efd4ea9733a3f488eb7d2be875f8834e616cd2a37358b4852d',
  linux_arm64: 'bd1b0db9f18b051026de8bf6cc1505f2510f14bbb7a8b9a4a91fff46c77454f5',
  darwin_amd64: 'bbb73e2a31135abe50a1f1cdb35030c42961df618e8ce9c60ae89f201540c5d9',
  darwin_arm64: 'cca01b7ea35ad56e2a328d9ae596bf716bd22313ef63c7a761c88354457c2415',
}

/** 1.x: 2.0 took summary modes and executors away that the scripts use. */
const K6_VERSION = '1.8.1'

const goCpu = (platform: Platform): string => (platform.cpu === 'x64' ? 'amd64' : 'arm64')

export const TOOLS: Record<ToolName, Tool> = {
  temporal: {
    name: 'temporal',
    purpose: 'the Temporal CLI, whose server keeps the state of running operations',
    variable: 'COPPICE_TEMPORAL_CLI',
    programs: ['temporal'],
    places: ['~/go/bin', '~/.temporalio/bin'],
    versionArgs: ['--version'],
    versionPattern: /Server (\d+\.\d+\.\d+)/,
    range: { oldest: '1.29.0', tooNew: '2.0.0' },
    sources: [
      {
        kind: 'release',
        version: TEMPORAL_VERSION,
        asset: (platform) => {
          const name = `${platform.os}_${goCpu(platform)}`
          const sha256 = TEMPORAL_SHA256[name]
          if (sha256 === undefined) return null
          const file = `temporal_cli_${TEMPORAL_VERSION}_${name}.tar.gz`
          return {
            url: `https://github.com/temporalio/cli/releases/download/v${TEMPORAL_VERSION}/${file}`,
            checksum: { sha256 },
            program: 'temporal',
          }
        },
      },
      {
        kind: 'goInstall',
        module: 'github.com/temporalio/cli/cmd/temporal',
        version: TEMPORAL_VERSION,
        program: 'temporal',
      },
    ],
    byHand: `install the Temporal CLI ${TEMPORAL_VERSION} or newer (https://docs.temporal.io/cli)`,
  },
  k6: {
    name: 'k6',
    purpose: 'k6, which drives the load tests',
    variable: 'COPPICE_K6',
    programs: ['k6'],
    places: ['~/go/bin'],
    versionArgs: ['version'],
    versionPattern: /k6\S* v?(\d+\.\d+\.\d+)/,
    range: { oldest: '1.0.0', tooNew: '2.0.0' },
    sources: [
      {
        kind: 'release',
        version: K6_VERSION,
        asset: (platform) => {
          const base = `https://github.com/grafana/k6/releases/download/v${K6_VERSION}/k6-v${K6_VERSION}`
          const name = platform.os === 'linux' ? `linux-${goCpu(platform)}.tar.gz` : `macos-${goCpu(platform)}.zip`
          return { url: `${base}-${name}`, checksum: { list: `${base}-checksums.txt` }, program: 'k6' }
        },
      },
      { kind: 'goInstall', module: 'go.k6.io/k6', version: K6_VERSION, program: 'k6' },
    ],
    byHand: `install k6 ${K6_VERSION} (https://grafana.com/docs/k6/latest/set-up/install-k6/)`,
  },
  uv: {
    name: 'uv',
    purpose: 'uv, which installs the libraries of Python apps',
    variable: 'COPPICE_UV',
    programs: ['uv'],
    places: ['~/.local/bin', '~/.cargo/bin'],
    versionArgs: ['--version'],
    versionPattern: /uv (\d+\.\d+\.\d+)/,
    // 0.6: `venv --relocatable` and `--link-mode` as the builders use them.
    range: { oldest: '0.6.0', tooNew: '1.0.0' },
    sources: [{ kind: 'pypi', project: 'uv', version: '0.13.9', oldest: '0.6.0', program: 'uv' }],
    byHand: 'install uv (https://docs.astral.sh/uv/getting-started/installation/)',
  },
  chromium: {
    name: 'chromium',
    purpose: 'Chromium, for the tests in a real browser',
    variable: 'COPPICE_CHROMIUM',
    programs: ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'],
    places: [
      '=/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
      '=/Applications/Chromium.app/Contents/MacOS/Chromium',
    ],
    versionArgs: ['--version'],
    versionPattern: /(\d+\.\d+\.\d+)/,
    range: { oldest: '120.0.0', tooNew: '1000.0.0' },
    sources: [{ kind: 'apt', packages: ['chromium'] }, { kind: 'playwright' }],
    byHand: 'install Chromium or Chrome',
  },
}
