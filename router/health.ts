/** Ids of instances that are not simply well, as all processes of the router take them from the primary (R12.2). */
export type Health = {
  /** Ejected on evidence: what is in flight to them may be sent once more. */
  dead: string[]
  /** Ejected because of what they answer, or for their silence: what is in flight stays with them. */
  givenUp: string[]
  /** They let a question wait: no new session goes there while another answers. The one heard of last is the last. */
  busy: string[]
}

export const ALL_WELL: Health = { dead: [], givenUp: [], busy: [] }
