import { describe, expect, it } from 'vitest'
import { figure, holdsBar, lowerQuartile, median } from './figures.ts'

describe('a figure', () => {
  it('says whether it holds its bar', () => {
    expect(figure(1.9, 'ratio', '<= 2', 'x')).toMatchObject({ holds: true, bar: '<= 2' })
    expect(holdsBar(2.1, '<= 2')).toBe(false)
    expect(holdsBar(3, '>= 3')).toBe(true)
    expect(holdsBar(0, '= 0')).toBe(true)
  })

  it('does not hold a bar when there is no value, and refuses a bar that says nothing', () => {
    expect(holdsBar(Number.NaN, '<= 2')).toBe(false)
    expect(() => holdsBar(1, 'about 2')).toThrow('is no bar')
  })

  it('has a median, of an even number of runs between the middle two', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(median([])).toBeNaN()
  })

  it('has a lower quartile, that of the least disturbed quarter of the runs', () => {
    expect(lowerQuartile([8, 3, 5, 1, 7, 2, 6, 4])).toBe(2)
    expect(lowerQuartile([9])).toBe(9)
    expect(lowerQuartile([])).toBeNaN()
  })
})
