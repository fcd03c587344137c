/** How an app is checked, on the command line. */
import { type Command, InvalidArgumentError } from 'commander'

export type HealthFlags = {
  /** False: none of its own. */
  healthPath?: string | false
  healthTimeout?: number
  silenceTimeout?: number
}

export const withHealthFlags = (command: Command): Command =>
  command
    .option('--health-path <path>', 'path that answers below 400 when the app is well')
    .option('--no-health-path', 'none of its own: / answers below 500')
    .option('--health-timeout <seconds>', 'how long a new instance may take to become healthy', seconds)
    .option(
      '--silence-timeout <seconds>',
      'how long an instance may give no byte before it is given up, 1 to 3600; more for an app that computes for long',
      seconds,
    )

/** Fields of `health_check`, those that were given. */
export function healthFields(flags: HealthFlags): Array<['path' | 'timeout' | 'silence_timeout', string | null]> {
  const { healthPath, healthTimeout, silenceTimeout } = flags
  return [
    ...(healthPath === undefined
      ? []
      : [['path', healthPath === false ? null : healthPath] as ['path', string | null]]),
    ...(healthTimeout === undefined ? [] : [['timeout', `${healthTimeout}s`] as ['timeout', string]]),
    ...(silenceTimeout === undefined ? [] : [['silence_timeout', `${silenceTimeout}s`] as ['silence_timeout', string]]),
  ]
}

function seconds(text: string): number {
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text) || Number(text) === 0)
    throw new InvalidArgumentError('It takes seconds, e.g. 90.')
  return Number(text)
}
