/** What has to be true when an operation that was interrupted has ended (R10.1, R10.2). */
import type { Answer } from '../helpers/load.ts'
import type { CrashOperation } from './operations.ts'
import { type OperationRow, stateOf, type World } from './world.ts'

export type Ending = {
  app: string
  operation: CrashOperation
  record: OperationRow
  end: 'new' | 'old'
  before: World
  after: World
}

/** Whether the app is wholly what it was, down to the processes of its instances, or wholly what it was to become. */
export function judgeState(ending: Ending): string[] {
  const { app, before, after, record } = ending
  const [was, is] = [stateOf(before, app), stateOf(after, app)]
  const left = record.failure?.undoFailures ?? []
  if (left.length > 0) return [`could not be undone: ${left.join('; ')}`]
  if (ending.end === 'old') {
    return JSON.stringify(is) === JSON.stringify(was)
      ? []
      : [`not as it was. Before: ${JSON.stringify(was)}. Now: ${JSON.stringify(is)}`]
  }
  return judgeNew(ending)
}

function judgeNew({ app, operation, record, before, after }: Ending): string[] {
  const { to, from, changesDeployment } = operation
  const [was, is] = [stateOf(before, app), stateOf(after, app)]
  const found: string[] = []
  const expect = (what: string, value: unknown, wanted: unknown) => {
    if (JSON.stringify(value) !== JSON.stringify(wanted))
      found.push(`${what} is ${JSON.stringify(value)}, should be ${JSON.stringify(wanted)}`)
  }
  if (to === null) {
    expect('the app', is.app, null)
  } else {
    const want = { ...from, ...to }
    expect('the mode', is.app?.mode, want.mode)
    expect('the number of instances', is.app?.instances, want.instances)
    expect('the desired state', is.app?.desired, want.running ? 'running' : 'stopped')
    const same = is.app?.active_deployment === was.app?.active_deployment
    expect('that another deployment runs', !same, changesDeployment === true)
  }
  const taken = stepsTaken(after, record.id)
  expect('the set of steps that it took', taken, [...operation.steps, 'commit', 'finish'].toSorted())
  const { keep = [], add = [] } = record.plan ?? {}
  const planned = [...keep, ...add].map(({ id }) => id)
  expect('the instances', is.instances.map(({ id }) => id).toSorted(), planned.toSorted())
  for (const { id } of keep) {
    const of = (state: typeof was) => state.instances.find((each) => each.id === id)
    expect(`the kept instance ${id}`, of(is), of(was))
  }
  return found
}

/** Kinds of the steps of an operation, those that its repair took for it included: the cases are made from these. */
function stepsTaken(world: World, id: string): string[] {
  const ids = [id, ...world.operations.filter(({ repairs }) => repairs === id).map((repair) => repair.id)]
  const kinds = world.steps
    .filter(({ operation }) => ids.includes(operation))
    .map(({ step }) => step.split('/')[0] as string)
  return [...new Set(kinds)].sort()
}

/** When there was no router, in Unix ms. */
export type Away = { from: number; to: number }

/** What somebody may not have seen who asked all the time (R3.4, R5.1, R6.1). */
export function judgeAnswers(all: readonly Answer[], ending: Ending, noRouter: Away | null = null): string[] {
  const { app, before, after, end, operation } = ending
  const old = known(before, app)
  const young = known(after, app)
  const instances = new Map([...old, ...young])
  const met = ({ from, to }: Away, { startedAt, endedAt }: Answer) => startedAt <= to && endedAt >= from
  const answers = all.filter((answer) => answer.status !== 0 || noRouter === null || !met(noRouter, answer))
  const found: string[] = []
  const away: Answer[] = []
  for (const answer of answers) {
    const { status, body } = answer
    if (status !== 200) {
      // Stopped, not started yet, or deleted: what the router says then, and nothing else.
      if (operation.serves !== 'throughout' && (status === 503 || status === 404)) away.push(answer)
      else found.push(`a request failed: ${shown(answer)}`)
      continue
    }
    const of = instances.get(body.instance ?? '')
    if (of === undefined) found.push(`answered by somebody who was never part of the app: ${shown(answer)}`)
    else if (of.version !== body.version) found.push(`version ${body.version} of an instance of ${of.version}`)
    else if ((of.mode === 'scaled') !== answer.cookies.length > 0)
      found.push(`${answer.cookies.length} routing cookies from the ${of.mode} instance ${body.instance}`)
  }
  const from = (ids: Map<string, unknown>, not: Map<string, unknown>) =>
    answers.filter(({ body }) => ids.has(body.instance ?? '') && !not.has(body.instance ?? ''))
  found.push(...later('old after new', from(old, young), from(young, old)))
  const here = answers.filter(({ status }) => status === 200)
  if (operation.serves === 'until the pivot') {
    if (end === 'old') found.push(...away.map((answer) => `a request failed: ${shown(answer)}`))
    found.push(...later('answered after it had been stopped', here, away))
  }
  if (operation.serves === 'from the pivot on') {
    if (end === 'old') found.push(...here.map((answer) => `answered although it was not started: ${shown(answer)}`))
    found.push(...later('away after it had been there', away, here))
  }
  return found.length > MANY ? [...found.slice(0, MANY), `… and ${found.length - MANY} more`] : found
}

const MANY = 5

/** Those of `these` that were asked for when one of `those` had been answered already. */
function later(what: string, these: Answer[], those: Answer[]): string[] {
  const first = those.toSorted((a, b) => a.endedAt - b.endedAt)[0]
  if (first === undefined) return []
  return these
    .filter(({ startedAt }) => startedAt > first.endedAt)
    .map((answer) => `${what}: ${shown(answer)} after ${shown(first)}`)
}

function known(world: World, app: string): Map<string, { version: string; mode: string }> {
  const paths = new Map(world.deployments.map(({ id, source_code_path }) => [id, source_code_path]))
  return new Map(
    stateOf(world, app).instances.map(({ id, deployment, mode }) => [
      id,
      { version: (paths.get(deployment) ?? '').replace('crash-', ''), mode },
    ]),
  )
}

const shown = ({ method, status, error, body, startedAt, endedAt }: Answer): string =>
  `${method} ${status} ${error ?? body.instance ?? ''} ${body.version ?? ''} ${time(startedAt)}–${time(endedAt)}`

const time = (at: number): string => new Date(at).toISOString().slice(14, 23)
