import { createBench } from './bench.ts'
import { defineProviderConformance } from './provider.ts'

defineProviderConformance('process', () => createBench())
