import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, mkdir, open } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createInflateRaw } from 'node:zlib'
import { extract } from 'tar-stream'

/**
 * Unpacks what tools come in. Wheels, Go modules and some releases are zip files, and neither Node nor every machine
 * has an unzip; what is needed of the format (APPNOTE.TXT 4.3, no zip64, no encryption) is little.
 */
export type Wanted = (name: string) => string | null

/** Takes every entry for which `wanted` gives a name below `folder`; returns how many. */
export async function unzip(file: string, folder: string, wanted: Wanted): Promise<number> {
  const archive = await open(file, 'r')
  let count = 0
  try {
    const { size } = await archive.stat()
    const tail = Buffer.alloc(Math.min(size, 65_557))
    await archive.read(tail, 0, tail.length, size - tail.length)
    const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
    if (end < 0) throw new Error(`${file} is not a zip file`)
    const directory = Buffer.alloc(tail.readUInt32LE(end + 12))
    await archive.read(directory, 0, directory.length, tail.readUInt32LE(end + 16))
    for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === 0x02014b50; ) {
      const method = directory.readUInt16LE(at + 10)
      const packedBytes = directory.readUInt32LE(at + 20)
      const nameBytes = directory.readUInt16LE(at + 28)
      const mode = directory.readUInt32LE(at + 38) >>> 16
      const offset = directory.readUInt32LE(at + 42)
      const name = directory.toString('utf8', at + 46, at + 46 + nameBytes)
      at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
      const place = name.endsWith('/') ? null : wanted(name)
      if (place === null) continue
      const target = inside(folder, place)
      await mkdir(dirname(target), { recursive: true })
      const header = Buffer.alloc(30)
      await archive.read(header, 0, 30, offset)
      const start = offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28)
      const out = createWriteStream(target)
      if (packedBytes === 0) out.end()
      else {
        const packed = createReadStream(file, { start, end: start + packedBytes - 1 })
        if (method === 0) await pipeline(packed, out)
        else if (method === 8) await pipeline(packed, createInflateRaw(), out)
        else throw new Error(`${file} uses zip method ${method}`)
      }
      if (mode & 0o111) await chmod(target, 0o755)
      count++
    }
  } finally {
    await archive.close()
  }
  return count
}

export async function untarGz(file: string, folder: string, wanted: Wanted): Promise<number> {
  let count = 0
  const entries = extract()
  const done = pipeline(createReadStream(file), createGunzip(), entries)
  for await (const entry of entries) {
    const place = entry.header.type === 'file' ? wanted(entry.header.name) : null
    if (place === null) {
      entry.resume()
      continue
    }
    const target = inside(folder, place)
    await mkdir(dirname(target), { recursive: true })
    await pipeline(entry, createWriteStream(target))
    if ((entry.header.mode ?? 0) & 0o111) await chmod(target, 0o755)
    count++
  }
  await done
  return count
}

/** An archive must not write beside the folder it is unpacked to. */
function inside(folder: string, name: string): string {
  const target = resolve(join(folder, name))
  if (!target.startsWith(resolve(folder) + sep)) throw new Error(`an archive names a file outside: ${name}`)
  return target
}
