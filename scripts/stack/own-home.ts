/** Data directories that a program has made for itself alone. */

/** Ends what runs on it and removes it, whatever has become of the program. */
export const removal = (home: string): string => `npx coppice --home ${home} down --purge`
