// Polls one agent through the Genesys Cloud SDK for JavaScript, several requests at a time.
//
// Nothing here knows about tokens: the SDK logs in, and `setGateway` says where. Half-way through,
// one poller has every token revoked at the server; the others are in mid-request.
//
// Environment: GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET; POLLERS and POLLS (per
// poller); AGENT; LAB_CONTROL (a lab's address; without it nothing is revoked).
'use strict';

const genesys = require('purecloud-platform-client-v2');

const { GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET, LAB_CONTROL = '' } = process.env;
const POLLERS = Number(process.env.POLLERS ?? 8);
const POLLS = Number(process.env.POLLS ?? 12);
const AGENT = process.env.AGENT ?? 'agent-1';

const counts = { client: 'javascript', logins: 0, polls: 0, errors: 0 };
const client = genesys.ApiClient.instance;
const users = new genesys.UsersApi();

async function logIn() {
  client.setGateway({ host: GATEWAY_HOST, port: GATEWAY_PORT, protocol: 'http' });
  await client.loginClientCredentialsGrant(CLIENT_ID, CLIENT_SECRET);
  counts.logins += 1;
}

async function poll() {
  try {
    await users.getUserRoutingstatus(AGENT);
    counts.polls += 1;
  } catch (error) {
    counts.errors += 1;
    console.error(`poll: ${error.status ?? ''} ${error.message ?? JSON.stringify(error.body)}`);
  }
}

async function revokeAllTokens() {
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch(`${LAB_CONTROL}/lab/revoke`, { method: 'POST', headers, body: '{}' });
  if (!answer.ok) throw new Error(`the lab answered ${answer.status} to a revocation`);
}

async function poller(revokes) {
  for (let turn = 0; turn < POLLS; turn += 1) {
    if (revokes && turn === Math.floor(POLLS / 2)) await revokeAllTokens();
    await poll();
  }
}

async function main() {
  await logIn();
  await Promise.all(Array.from({ length: POLLERS }, (_, number) => poller(number === 0 && LAB_CONTROL !== '')));
  // A program that starts anew logs in again: that must cost no request upstream.
  await logIn();
  await poll();
  console.log(JSON.stringify(counts));
  process.exit(counts.errors === 0 && counts.polls === POLLERS * POLLS + 1 ? 0 : 1);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
