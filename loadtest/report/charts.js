// Draws the charts of the report with uPlot, which stands before this script. Plain JavaScript: it runs in browsers.
;(() => {
  const runs = JSON.parse(document.getElementById('runs').textContent)
  const places = [...document.querySelectorAll('.chart')]
  const SYNC = 'runs'

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
  const seconds = (value) => (value === null || value === undefined ? '–' : `${value.toFixed(1)} s`)
  const rate = (value) => (value === null || value === undefined ? '–' : `${Math.round(value)}/s`)
  const ms = (value) => (value === null || value === undefined ? '–' : `${Math.round(value)} ms`)

  /** Bands for faults and operations with their numbers, and a line for each step. */
  function marks(run) {
    return {
      hooks: {
        drawAxes: [
          (u) => {
            const { ctx, bbox } = u
            const ratio = devicePixelRatio
            ctx.save()
            ctx.beginPath()
            ctx.rect(bbox.left, bbox.top - 18 * ratio, bbox.width, bbox.height + 18 * ratio)
            ctx.clip()
            run.marks.forEach((mark, index) => {
              const from = u.valToPos(mark.at, 'x', true)
              const to = Math.max(from + 2 * ratio, u.valToPos(mark.until ?? run.seconds, 'x', true))
              const tone = color(mark.kind === 'fault' ? 'fault' : 'operation')
              ctx.fillStyle = `rgb(${tone} / 0.16)`
              ctx.fillRect(from, bbox.top, to - from, bbox.height)
              ctx.fillStyle = `rgb(${tone})`
              ctx.fillRect(from, bbox.top, 2 * ratio, bbox.height)
              ctx.textAlign = 'left'
              ctx.font = `700 ${12 * ratio}px system-ui, sans-serif`
              // Its words, too, where the next mark leaves room for them.
              const next = run.marks[index + 1]
              const end = next === undefined ? bbox.left + bbox.width : u.valToPos(next.at, 'x', true) - 8 * ratio
              const label = `${index + 1} ${mark.words}`
              const fits = from + ctx.measureText(label).width <= end
              ctx.fillText(fits ? label : String(index + 1), from, bbox.top - 5 * ratio)
            })
            ctx.strokeStyle = `rgb(${color('operation')} / 0.7)`
            ctx.lineWidth = ratio
            ctx.setLineDash([2 * ratio, 3 * ratio])
            for (const { at } of run.operations.flatMap(({ steps }) => steps)) {
              const x = Math.round(u.valToPos(at, 'x', true))
              ctx.beginPath()
              ctx.moveTo(x, bbox.top)
              ctx.lineTo(x, bbox.top + bbox.height)
              ctx.stroke()
            }
            ctx.restore()
          },
        ],
      },
    }
  }

  /** What was going on at the time under the cursor, in words below the chart. */
  function telling(run, line, legend) {
    const hint = run.marks.length > 0 && legend ? 'Point at a time to read what happened then.' : ''
    line.textContent = hint
    return {
      hooks: {
        setCursor: [
          (u) => {
            const at = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, 'x') : null
            const within = (from, until) => at !== null && at >= from && at <= until
            const words = [
              ...run.marks.filter((mark) => within(mark.at, mark.until ?? run.seconds)).map((mark) => mark.words),
              ...run.operations
                .flatMap(({ steps }) => steps)
                .filter((step) => within(step.at, step.at + (step.seconds ?? 0)))
                .map((step) => step.words),
            ]
            legend?.at(at === null ? null : u.cursor.idx)
            line.textContent = at === null ? hint : [seconds(at), ...words].join(' · ')
          },
        ],
      },
    }
  }

  const SHADES = [100, 62, 35]

  /** The instances of a slot, one after the other, in shades of its colour: neighbours in time differ. */
  function shade(slot, generation) {
    const base = color(`s${(slot ?? 0) % 5}`)
    return `color-mix(in oklab, ${base} ${SHADES[generation % SHADES.length]}%, ${color('card')})`
  }

  /** One line a slot and shade: a long run has hundreds of instances, and at most one a slot at a time. */
  function shades(series) {
    const generations = new Map()
    const lines = new Map()
    for (const { slot, instance, perSecond } of series.instances) {
      const place = slot === null ? instance : `slot ${slot}`
      const generation = generations.get(place) ?? 0
      generations.set(place, generation + 1)
      const key = `${place} ${generation % SHADES.length}`
      const line = lines.get(key)
      if (line === undefined) lines.set(key, { place, perSecond: [...perSecond], fill: shade(slot, generation) })
      else line.perSecond = line.perSecond.map((value, at) => value + perSecond[at])
    }
    return [...lines.values()]
  }

  /** Stacked: what one instance loses another one has to get. */
  function instances({ series }) {
    const lines = shades(series)
    const sums = []
    lines.forEach(({ perSecond }, index) => {
      sums.push(perSecond.map((value, at) => value + (sums[index - 1]?.[at] ?? 0)))
    })
    // The tallest first, so that the others are painted over it.
    const order = lines.map((_, index) => index).reverse()
    return {
      data: [series.seconds, ...order.map((index) => sums[index])],
      series: order.map((index) => ({
        fill: lines[index].fill,
        stroke: lines[index].fill,
        width: 0,
        paths: uPlot.paths.stepped({ align: 1 }),
        points: { show: false },
      })),
      legend: slotLegend(lines),
      axis: (value) => `${value}`,
      height: 240,
    }
  }

  /** One entry a slot, with its shades, and what it answered at the time under the cursor. */
  function slotLegend(lines) {
    const places = [...new Set(lines.map(({ place }) => place))]
    const list = document.createElement('ul')
    list.className = 'legend'
    const values = places.map((place) => {
      const item = list.appendChild(document.createElement('li'))
      for (const { fill } of lines.filter((line) => line.place === place)) {
        item.appendChild(document.createElement('i')).style.background = fill
      }
      item.append(place, ' ')
      return item.appendChild(document.createElement('span'))
    })
    if (lines.length > places.length) {
      list.appendChild(document.createElement('li')).textContent = 'a lighter shade: the instance that took its place'
    }
    const at = (index) => {
      places.forEach((place, row) => {
        const own = lines.filter((line) => line.place === place)
        const sum = own.reduce((total, { perSecond }) => total + (perSecond[index] ?? 0), 0)
        values[row].textContent = index === null ? '' : rate(sum)
      })
    }
    return { list, at }
  }

  function latency({ series }) {
    const line = (label, data, name, width) => ({
      data,
      series: {
        label,
        stroke: color(name),
        width,
        value: (_u, value) => ms(value),
        points: { show: false },
        spanGaps: true,
      },
    })
    const lines = [
      line('median', series.p50, 's2', 2),
      line('p95', series.p95, 's0', 2),
      line('p99', series.p99, 's1', 1.5),
    ]
    return {
      data: [series.seconds, ...lines.map(({ data }) => data)],
      series: lines.map((one) => one.series),
      axis: (value) => (value >= 1000 ? `${value / 1000} s` : `${value} ms`),
      height: 200,
    }
  }

  function trouble({ series }) {
    const bars = (label, name, data) => ({
      data,
      series: {
        label,
        stroke: color(name),
        fill: color(name),
        width: 0,
        paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }),
        points: { show: false },
        value: (_u, value) => rate(value),
      },
    })
    const all = [bars('sessions moved', 's3', series.moved), bars('failed', 'bad', series.failed)]
    return {
      data: [series.seconds, ...all.map(({ data }) => data)],
      series: all.map((one) => one.series),
      axis: (value) => `${value}`,
      height: 130,
    }
  }

  const KINDS = { instances, latency, trouble }
  let drawn = []

  function draw() {
    for (const { chart } of drawn) chart.destroy()
    drawn = places.map((place) => {
      place.textContent = ''
      const run = runs[Number(place.dataset.run)]
      const { data, series, axis, height, legend } = KINDS[place.dataset.chart](run)
      const line = document.createElement('div')
      line.className = 'now'
      const lines = {
        stroke: color('quiet'),
        grid: { stroke: color('line'), width: 1 },
        ticks: { stroke: color('line') },
      }
      const chart = new uPlot(
        {
          width: place.clientWidth,
          height,
          padding: [20, 8, 0, 0],
          scales: {
            x: { time: false, range: [0, run.seconds] },
            y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.08)] },
          },
          axes: [
            { ...lines, values: (_u, values) => values.map((value) => `${value} s`) },
            { ...lines, size: 60, values: (_u, values) => values.map(axis) },
          ],
          series: [{ label: 'time', value: (_u, value) => seconds(value) }, ...series],
          cursor: { sync: { key: `${SYNC}${place.dataset.run}` }, drag: { x: false, y: false } },
          legend: { show: legend === undefined },
          plugins: [marks(run), telling(run, line, legend)],
        },
        data,
        place,
      )
      if (legend !== undefined) place.append(legend.list)
      place.append(line)
      return { chart, place, height }
    })
  }

  draw()
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
  new ResizeObserver(() => {
    for (const { chart, place, height } of drawn) {
      if (place.clientWidth !== chart.width) chart.setSize({ width: place.clientWidth, height })
    }
  }).observe(document.body)
})()
