import { defineRailway, preserve, project, service, volume } from 'railway/iac'

// What this file owns is one service and its volume. Without a name of its own, `railway config apply` would plan to
// delete whatever else the project holds.
export const partial = 'yoto-token-keeper'

// Set with `railway variable set`; their values stay on Railway. One that is missing here would be deleted by an apply.
const variables = [
  'YOTO_CLIENT_ID',
  'YOTO_CLIENT_SECRET',
  'YOTO_SCOPE',
  'YOTO_AUDIENCE',
  'YOTO_AUTH_URL',
  'YOTO_API_URL',
  'TOKEN_REFRESH_INTERVAL_HOURS',
  'DATA_DIR',
  'REDIS_URL',
  'UPSTASH_REDIS_REST_URL',
  'UPSTASH_REDIS_REST_TOKEN',
  'KEEPER_KEY',
  'KEEPER_TOOL_KEYS',
  'KEEPER_ENCRYPTION_KEY',
  'CORS_ORIGIN',
  'PUBLIC_URL',
  'NOTIFY_URL',
  'PORT',
  'HOST',
  'RAILWAY_RUN_UID',
]

export default defineRailway(() => {
  const data = volume('data')

  const keeper = service('yoto-token-keeper', {
    // Railpack sees package-lock.json and installs with npm before this command.
    build: { builder: 'RAILPACK', buildCommand: 'npm run build' },
    // node itself: npm would swallow SIGTERM.
    start: 'node .output/server/index.mjs',
    healthcheck: '/api/health',
    healthcheckTimeout: 60,
    deploy: {
      restartPolicyType: 'ON_FAILURE',
      restartPolicyMaxRetries: 10,
      // After SIGTERM a refresh and its save may take 10 s.
      drainingSeconds: 15,
      // No deployment without a volume.
      requiredMountPath: '/data',
    },
    volumeMounts: { '/data': data },
    env: Object.fromEntries(variables.map((name) => [name, preserve()])),
  })

  return project('yoto-token-keeper', { resources: [keeper, data] })
})
