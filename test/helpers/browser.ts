import { type Browser, chromium } from 'playwright-core'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'

/** A real Chromium. `*.test` leads to this machine, as it does when a foreign DNS says so. */
export async function startBrowser(): Promise<Browser> {
  const { path } = await resolveTool('chromium')
  return chromium.launch({
    executablePath: path,
    // Its sandbox does not work as root, and /dev/shm is small in containers.
    args: [
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-dev-shm-usage',
      '--host-resolver-rules=MAP *.test 127.0.0.1',
      '--no-proxy-server',
      // Newer ones ask people before a page of the internet reaches loopback; others, and pages of loopback itself, do not.
      '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests',
    ],
  })
}
