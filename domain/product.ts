/** The one place where the product's names stand (house style 7). */
export const PRODUCT = 'coppice'
export const TASK_QUEUE = 'coppice'
/** In the state directory of a router: the last table that it was told. */
export const ROUTE_TABLE_FILE = 'routes.json'

/** The routing cookie of the product that Coppice is compatible with (R7.1). */
export const ROUTER_COOKIE = '__Host-databricks-app-router'
/** The non-Secure twin for plain http on loopback, where some browsers refuse `__Host-` (DESIGN D13). */
export const loopbackCookie = (app: string): string => `${PRODUCT}-router-${app}`
export const ROUTING_KEY_HEADER = 'x-routing-key'

/** The lock: Temporal allows one open workflow of an id, so one operation runs on an app at a time (DESIGN D1). */
export const appWorkflowId = (app: string): string => APP_WORKFLOWS + app
/** How the ids of all locks begin. */
export const APP_WORKFLOWS = 'app/'
