import { eventHandler } from 'h3'

/** Whether the process lives; says nothing about the sign-in. */
export default eventHandler(() => ({ status: 'ok' }))
