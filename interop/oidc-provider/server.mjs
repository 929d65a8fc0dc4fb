// oidc-provider with refresh token rotation, on loopback, with a record of its own.
//
// Prints `ready issuer=http://ADDRESS` on standard error. `GET /ledger` tells how often each refresh
// token was shown, and how many are good; it never tells a token.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const LIFETIME = Number(process.env.ACCESS_TOKEN_LIFETIME ?? 60);

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const grant_types = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];
const common = { grant_types, response_types: ['code'], application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'] };

const provider = new Provider(issuer, {
  clients: [
    { client_id: 'public', token_endpoint_auth_method: 'none', ...common },
    { client_id: 'confidential', client_secret: process.env.CLIENT_SECRET, token_endpoint_auth_method: 'client_secret_basic', ...common },
  ],
  features: { revocation: { enabled: true }, deviceFlow: { enabled: true } },
  rotateRefreshToken: true,
  ttl: { AccessToken: LIFETIME, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 3600, IdToken: 3600, DeviceCode: 600, AuthorizationCode: 60 },
  cookies: { keys: ['for a test'] },
});

const shown = new Map();
const refused = { count: 0 };
const digest = (token) => createHash('sha256').update(token).digest('hex').slice(0, 16);
const good = new Set();
let tokenRequests = 0;

provider.use(async (ctx, next) => {
  if (ctx.path === '/ledger') {
    ctx.body = {
      token_requests: tokenRequests,
      refreshes: [...shown.values()].reduce((sum, uses) => sum + uses, 0),
      refresh_uses: Math.max(0, ...shown.values()),
      refused: refused.count,
      good: good.size,
    };
    return;
  }
  await next();
  if (ctx.path === '/token' && ctx.method === 'POST') {
    tokenRequests += 1;
    const token = ctx.oidc?.params?.refresh_token;
    if (token) {
      const key = digest(token);
      shown.set(key, (shown.get(key) ?? 0) + 1);
      if (ctx.status !== 200) refused.count += 1;
    }
  }
});
// Good is what the server itself would take: issued, and neither spent nor destroyed since.
provider.on('refresh_token.saved', (token) => good.add(token.jti));
provider.on('refresh_token.consumed', (token) => good.delete(token.jti));
provider.on('refresh_token.destroyed', (token) => good.delete(token.jti));

server.on('request', provider.callback());
process.stderr.write(`ready issuer=${issuer}\n`);
