"use strict";

const credentials = new Map();
const rows = new Map();
const body = document.getElementById("credentials");
const summary = document.getElementById("summary");
const empty = document.getElementById("empty");

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  return Math.round(s / 3600) + " h";
}

function rowOf(name) {
  if (rows.has(name)) return rows.get(name);
  const tr = document.createElement("tr");
  const cells = {};
  for (const key of ["name", "state", "since", "next", "tokens", "expires", "generation", "requests", "failures"]) {
    const td = document.createElement("td");
    if (["tokens", "expires", "generation", "requests", "failures"].includes(key)) td.className = "number";
    cells[key] = td;
    tr.append(td);
  }
  cells.label = document.createElement("span");
  cells.why = document.createElement("span");
  cells.why.className = "why";
  cells.state.append(cells.label, cells.why);
  const after = [...rows.keys()].filter((other) => other > name).sort()[0];
  body.insertBefore(tr, after ? rows.get(after).tr : null);
  const row = { tr, cells };
  rows.set(name, row);
  return row;
}

function draw() {
  const now = Date.now() / 1000;
  let fresh = 0;
  for (const [name, c] of credentials) {
    const { cells } = rowOf(name);
    cells.name.textContent = name;
    cells.label.textContent = c.state;
    cells.label.className = "state " + c.state;
    cells.why.textContent = c.why;
    cells.since.textContent = duration(now - c.since);
    cells.next.textContent = c.next_action + (c.next_at ? " in " + duration(c.next_at - now) : "");
    cells.tokens.textContent = c.pool > 1 ? c.held + " of " + c.pool : String(c.held);
    cells.expires.textContent = c.expires_at ? duration(c.expires_at - now) : "–";
    cells.generation.textContent = c.generation;
    cells.requests.textContent = c.token_requests;
    cells.failures.textContent = c.failures;
    if (c.state === "fresh" || c.state === "renewing") fresh += 1;
  }
  empty.hidden = credentials.size > 0;
  return fresh + " of " + credentials.size + " credentials healthy";
}

const source = new EventSource("/v1/events");
let live = false;
source.addEventListener("open", () => { live = true; });
source.addEventListener("error", () => { live = false; });
source.addEventListener("credential", (event) => {
  const credential = JSON.parse(event.data);
  credentials.set(credential.name, credential);
});
setInterval(() => {
  const said = draw();
  summary.textContent = live ? said : said + " (connection lost, trying again)";
}, 500);
