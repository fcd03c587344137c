/** The operations that are interrupted: from which state of an app they start, and what they ask for. */

import type { StepKind } from '../../activities/steps.ts'
import type { OperationType } from '../../domain/states.ts'

/** What an app is, as far as the operations here can change it. */
export type Shape = { mode: 'standard' | 'scaled'; instances: number; running: boolean; deployments: number }

export type CrashOperation = {
  type: Exclude<OperationType, 'repair'>
  /** One letter, for the matrix. */
  letter: string
  from: Shape
  /** What is different afterwards; null: the app is gone. */
  to: Partial<Shape> | null
  /** Whether another deployment runs afterwards. */
  changesDeployment?: boolean
  /** What `type` takes besides the app. */
  input: Record<string, unknown>
  /** The forward steps that it takes between `admit` and `commit` and between `commit` and `finish`. */
  steps: readonly StepKind[]
  /** The slot whose new instance crashes at its start when the operation is to fail; null where none is started. */
  fuse: number | null
  /** How the app is seen meanwhile by somebody who asks all the time. */
  serves: 'throughout' | 'until the pivot' | 'from the pivot on'
}

const RUNNING: Shape = { mode: 'scaled', instances: 2, running: true, deployments: 1 }
const REPLACES = ['start', 'publish', 'drain', 'stop'] as const

export const OPERATIONS = {
  deploy: {
    type: 'deploy',
    letter: 'd',
    from: RUNNING,
    to: {},
    changesDeployment: true,
    input: {},
    steps: ['snapshot', 'build', ...REPLACES],
    fuse: 1,
    serves: 'throughout',
  },
  'convert to scaled': {
    type: 'convert',
    letter: 'c',
    from: { ...RUNNING, mode: 'standard', instances: 1 },
    to: { mode: 'scaled' },
    input: { to: 'scaled' },
    steps: REPLACES,
    fuse: 0,
    serves: 'throughout',
  },
  'convert back': {
    type: 'convert',
    letter: 'b',
    from: RUNNING,
    to: { mode: 'standard', instances: 1 },
    input: { to: 'standard' },
    steps: REPLACES,
    fuse: 0,
    serves: 'throughout',
  },
  'resize up': {
    type: 'resize',
    letter: 'u',
    from: { ...RUNNING, instances: 1 },
    to: { instances: 3 },
    input: { instances: 3 },
    steps: ['start', 'publish'],
    fuse: 1,
    serves: 'throughout',
  },
  'resize down': {
    type: 'resize',
    letter: 'n',
    from: { ...RUNNING, instances: 3 },
    to: { instances: 1 },
    input: { instances: 1 },
    steps: ['publish', 'drain', 'stop'],
    fuse: null,
    serves: 'throughout',
  },
  rollback: {
    type: 'rollback',
    letter: 'o',
    from: { ...RUNNING, deployments: 2 },
    to: {},
    changesDeployment: true,
    input: {},
    steps: REPLACES,
    fuse: 1,
    serves: 'throughout',
  },
  restart: {
    type: 'restart',
    letter: 'r',
    from: RUNNING,
    to: {},
    input: {},
    steps: REPLACES,
    fuse: 1,
    serves: 'throughout',
  },
  stop: {
    type: 'stop',
    letter: 'p',
    from: RUNNING,
    to: { running: false },
    input: {},
    steps: ['publish', 'drain', 'stop'],
    fuse: null,
    serves: 'until the pivot',
  },
  start: {
    type: 'start',
    letter: 's',
    from: { ...RUNNING, running: false },
    to: { running: true },
    input: {},
    steps: ['start', 'publish'],
    fuse: 1,
    serves: 'from the pivot on',
  },
  delete: {
    type: 'delete',
    letter: 'x',
    from: RUNNING,
    to: null,
    input: {},
    steps: ['publish', 'drain', 'stop'],
    fuse: null,
    serves: 'until the pivot',
  },
} as const satisfies Record<string, CrashOperation>

export type OperationName = keyof typeof OPERATIONS
export const OPERATION_NAMES = Object.keys(OPERATIONS) as OperationName[]
export const operationOf = (name: OperationName): CrashOperation => OPERATIONS[name]
