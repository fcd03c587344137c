/** Stands in for a process that cannot start. */
console.error('no licence to run')
process.exit(3)
