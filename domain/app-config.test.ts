import { describe, expect, it } from 'vitest'
import { parseAppConfig } from './app-config.ts'
import { CoppiceError } from './errors.ts'

function refusal(text: string): CoppiceError {
  try {
    parseAppConfig('app.yaml', text)
  } catch (error) {
    if (error instanceof CoppiceError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('app.yaml', () => {
  it('R3.6 reads a command and an environment, each value as the text that stands there', () => {
    const config = parseAppConfig(
      'app.yaml',
      `command: [python, -m, http.server, 8000]
env:
  - name: VERSION
    value: 1.10
  - name: DEBUG
    value: yes
  - name: EMPTY
    value:
  - name: PASSWORD
    valueFrom: db-password
`,
    )
    expect(config).toEqual({
      command: ['python', '-m', 'http.server', '8000'],
      env: [
        { name: 'VERSION', value: '1.10' },
        { name: 'DEBUG', value: 'yes' },
        { name: 'EMPTY', value: '' },
        { name: 'PASSWORD', valueFrom: 'db-password' },
      ],
    })
  })

  it.each(['', '# nothing yet\n', '---\n'])('takes an empty file (%j) for an empty configuration', (text) => {
    expect(parseAppConfig('app.yaml', text)).toEqual({ env: [] })
  })

  it.each([
    ['resources: []', 'resources', 'is not a known field'],
    ['env:\n  - name: A\n    value_from: secret', 'env[0].value_from', 'write "valueFrom"'],
    ['command: python app.py', 'command', 'run without a shell'],
    ['command: []', 'command', 'must not be empty'],
    ['env:\n  A: 1', 'env', 'must be a list'],
    ['env:\n  - name: A', 'env[0]', 'exactly one of'],
    ['env:\n  - name: A\n    value: 1\n    valueFrom: b', 'env[0]', 'exactly one of'],
    ['env:\n  - name: 1A\n    value: 1', 'env[0].name', 'not begin with a digit'],
    ['env:\n  - name: A\n    value: 1\n  - name: A\n    value: 2', 'env[1].name', 'A is there twice'],
    ['env:\n  - name: A\n    value: {a: 1}', 'env[0].value', 'expected string'],
  ])('R13.3 refuses %j and names the field and the reason', (text, field, reason) => {
    const error = refusal(text)
    expect(error.code).toBe('AppConfigInvalid')
    expect(error.details.field).toBe(field)
    expect(error.message).toContain(`app.yaml: ${field} `)
    expect(error.message).toContain(reason)
  })

  it('says where the syntax is wrong', () => {
    expect(refusal('command: [python\nenv: []\n').message).toMatch(/^app\.yaml, line \d+, column \d+: \S/)
    expect(refusal('command: [a]\ncommand: [b]\n').message).toBe('app.yaml, line 2, column 1: Map keys must be unique')
    expect(refusal('env:\n  - {name: A,\n     name: B}\n').message).toContain(
      'line 3, column 6: Map keys must be unique',
    )
  })

  it.each([
    ['brackets without a beginning', ']'],
    ['an alias', '*'],
    ['a tag', '!'],
  ])('R13.3 refuses a file full of %s with one error, which quotes little of it', (_, unit) => {
    const { message } = refusal(unit.repeat(16 * 1024))
    expect(message).toMatch(/^app\.yaml.*: \S/)
    expect(message.length).toBeLessThan(9_000)
  })

  it('R13.3 refuses a file of thousands of keys as one of a few', () => {
    const keys = Array.from({ length: 7_000 }, (_, i) => `k${i}: 1`)
    expect(refusal(keys.join('\n')).details.field).toBe('k0')
    expect(refusal([...keys, 'k0: 2'].join('\n')).message).toContain('line 7001, column 1: Map keys')
  })

  it('does not let a few lines of aliases grow into gigabytes', () => {
    const lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]']
    for (let i = 1; i < 12; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(',')}]`,
      )
    expect(refusal(lines.join('\n')).code).toBe('AppConfigInvalid')
  })
})
