/** What the doctor says of apps. What is wrong has a line of its own; of what is well there is one for all. */
import { ERRORS, type ErrorCode } from '../domain/errors.ts'
import type { App, Instance, Operation } from '../domain/records.ts'
import type { Check } from './check.ts'
import { ailment } from './views.ts'

export type AppFacts = {
  app: App
  instances: Instance[]
  /** The newest that has ended; null when there was none. */
  last: Operation | null
  /** Instances from which some router gets no answer. */
  unanswered: ReadonlySet<string>
}

export function appChecks(facts: AppFacts[]): Check[] {
  const wrong = facts.flatMap((one) => ailments(one))
  const noted = facts.flatMap((one) => failureNote(one))
  const apps = facts.length === 1 ? 'one app' : `${facts.length} apps`
  const summary = { name: 'apps', ok: true, message: facts.length === 0 ? 'there is none' : `${apps}, all well` }
  return [...(wrong.length === 0 ? [summary] : wrong), ...noted]
}

function ailments({ app, instances, unanswered }: AppFacts): Check[] {
  const check = (message: string, hint: string): Check[] => [{ name: `app ${app.name}`, ok: false, message, hint }]
  if (app.computeState === 'ERROR') return check(app.computeMessage, `See what happened: coppice apps get ${app.name}.`)
  // What an operation is at is its own business, and says so itself; so is what never was deployed.
  if (app.desired === 'stopped' || app.operation !== null || app.activeDeployment === null) return []
  const serving = instances.filter(({ role }) => role === 'serving')
  const words = serving.filter(isAiling).map(ailment)
  for (const { id, slot, observed } of serving)
    if (observed === 'running' && unanswered.has(id))
      words.push(`The instance in slot ${slot} runs and gives no answer.`)
  const missing = app.instances - serving.length
  if (missing > 0) words.push(`${missing} of ${app.instances} instances are missing.`)
  if (words.length === 0) return []
  const mend = `Read what it wrote: coppice apps logs ${app.name}. Mend it and deploy again, or go back: coppice apps rollback ${app.name}.`
  return check(words.join(' '), serving.length === 0 ? `Start it: coppice apps restart ${app.name}.` : mend)
}

/** One that starts is none that ails: if it does not come up, it crashes or is ended for it. */
const isAiling = ({ observed }: Instance): boolean => !['running', 'starting', 'pending'].includes(observed)

/** The app is as it was before, so nothing is wrong with it; whoever wonders about it wants to know. */
function failureNote({ app, last }: AppFacts): Check[] {
  if (last?.state !== 'FAILED') return []
  const why = last.failure === null ? '' : `: ${last.failure.message}`
  return [
    {
      name: `app ${app.name}`,
      ok: true,
      message: `its last operation, a ${last.type} (${last.id}), failed${why}`,
      hint: last.failure === null ? undefined : hintOf(last.failure.code),
    },
  ]
}

const hintOf = (code: ErrorCode): string => ERRORS[code].hint
