import { startControl } from '../../../test/router/support/control.ts'
import { startRouter, until } from '../../../test/router/support/router-process.ts'
import { app, table } from '../../../test/router/support/tables.ts'
import type { Cores } from './machine.ts'
import { measure } from './measure.ts'

/** How long a table takes from being published to being applied in all processes, on disk and acknowledged, in ms. */
export async function tableUpdates(origins: number[], cores: Cores, ratePerSecond: number): Promise<number[]> {
  const rows = (slots: number[]) =>
    app(
      'app',
      slots.map((slot) => ({ name: `i${slot}`, address: `127.0.0.1:${origins[slot]}`, slot })),
    )
  const control = await startControl(table(1, rows([0, 1])))
  const router = await startRouter({ control, args: ['--processes', '2'], pin: cores?.proxy })
  try {
    await until(() => control.last()?.version === 1)
    const load = measure(
      [],
      {
        port: router.port,
        host: 'app.localhost',
        method: 'GET',
        path: '/small',
        bodyBytes: 0,
        connections: 64,
        seconds: 8,
        warmUpSeconds: 1,
        rate: ratePerSecond,
      },
      cores,
    )
    await new Promise((resolve) => setTimeout(resolve, 1500))
    const times: number[] = []
    for (let version = 2; version <= 81; version++) {
      const at = performance.now()
      control.publish(table(version, rows(version % 2 === 0 ? [0] : [0, 1])))
      while ((control.last()?.version ?? 0) < version) await new Promise((resolve) => setTimeout(resolve, 1))
      const report = control.reports.find((one) => one.version === version)
      times.push((report?.at ?? Number.NaN) - at)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await load
    return times
  } finally {
    await router.stop()
    await control.close()
  }
}
