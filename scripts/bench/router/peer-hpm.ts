import { Agent } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'

const app = express()
const target = `http://127.0.0.1:${process.argv[2]}`
app.use(
  createProxyMiddleware({
    target,
    xfwd: true,
    agent: new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY }),
  }),
)
const server = app.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
