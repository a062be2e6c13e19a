// Reads `events` and fills in the page. `fetch` is used rather than `EventSource`, which cannot
// send a token. What comes from logs is only ever set as text.

// A rate a second: two minutes of them.
const MAX_RATES = 120;
const SILENCE = 5000;

const seen = new Map();

const grouped = new Intl.NumberFormat("en");
const number = (value) => grouped.format(Math.round(value));

// With four digits where there are no whole units. What rounds to nothing has no sign.
function money(amount) {
  const digits = Math.abs(amount) < 1 ? 4 : 2;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
  return new Intl.NumberFormat("en", options).format(amount);
}

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function age(seconds) {
  if (seconds === null) return "none";
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function card(name) {
  if (!seen.has(name)) {
    const section = byId("pipeline").content.cloneNode(true).firstElementChild;
    section.setAttribute("aria-label", `pipeline ${name}`);
    live.append(section);
    const parts = {};
    for (const part of section.querySelectorAll("[data-is]")) parts[part.dataset.is] = part;
    seen.set(name, { section, parts, line: section.querySelector("polyline"), rates: [], last: null });
  }
  return seen.get(name);
}

function set(part, text) {
  if (part.textContent !== text) part.textContent = text;
}

function fill(part, key, children) {
  // Only when it has changed: a reader of the screen may be in it.
  if (part.dataset.key === key) return;
  part.dataset.key = key;
  part.replaceChildren(...children());
}

function tile(name, text) {
  const tile = document.createElement("div");
  tile.append(element("dt", name), element("dd", text));
  return tile;
}

function show(pipeline, now) {
  const shown = card(pipeline.name);
  const { parts, last, rates } = shown;
  set(parts.name, pipeline.name);
  set(parts.state, pipeline.state);
  parts.state.className = `state ${pipeline.troubles.length > 0 ? "troubled" : pipeline.state}`;
  set(parts.target, `to ${pipeline.target}`);
  parts.report.hidden = !pipeline.has_report;
  parts.report.href = `report?pipeline=${encodeURIComponent(pipeline.name)}`;
  for (const key of ["records", "requests", "lines_in", "lines_shipped", "lines_filtered", "lines_quarantined",
    "lines_spooled", "lines_undelivered", "lines_open"]) {
    set(parts[key], number(pipeline[key]));
  }
  if (last) {
    const seconds = Math.max((now - last.now) / 1000, 0.001);
    const rate = Math.max(0, pipeline.lines_in - last.lines_in) / seconds;
    set(parts.line_rate, number(rate));
    set(parts.byte_rate, bytes(Math.max(0, pipeline.bytes_in - last.bytes_in) / seconds));
    rates.push(rate);
    if (rates.length > MAX_RATES) rates.shift();
    const top = Math.max(1, ...rates);
    const x = (at) => (240 * (at + MAX_RATES - rates.length)) / (MAX_RATES - 1);
    const points = rates.map((value, at) => `${x(at).toFixed(1)},${(38 - (36 * value) / top).toFixed(1)}`);
    shown.line.setAttribute("points", points.join(" "));
  }
  shown.last = { now, lines_in: pipeline.lines_in, bytes_in: pipeline.bytes_in };
  set(parts.lag, bytes(pipeline.lag_bytes));
  const spool = pipeline.spool;
  set(parts.spool, spool ? `${bytes(spool.bytes)} of ${bytes(spool.size)}` : "no spool");
  const journal = pipeline.journal;
  set(parts.journal, journal ? `${bytes(journal.bytes)} of ${bytes(journal.size)}` : "no journal");
  const queue = pipeline.queue;
  set(parts.queue, queue
    ? `${number(queue.messages)} worked on, the oldest ${age(queue.oldest_seconds)}; ${number(queue.failed)} failed`
    : "no queue");
  set(parts.spool_age, spool ? age(spool.oldest_seconds) : "–");
  fill(parts.troubles, pipeline.troubles.join("\n"), () => pipeline.troubles.map((text) => element("li", text)));
  const failures = Object.entries(pipeline.failures);
  fill(parts.failures, JSON.stringify([failures, pipeline.throttles]), () => [
    tile("throttles", number(pipeline.throttles)),
    ...failures.map(([code, count]) => tile(code, number(count))),
  ]);
  fill(parts.savings, JSON.stringify(pipeline.savings), () =>
    pipeline.savings.length === 0
      ? [element("p", "nothing is billed for this target", "formula")]
      : pipeline.savings.flatMap(({ name, amount, currency, formula }) => [
          element("p", `${money(amount)} ${currency} (${name})`, "money"),
          element("p", formula, "formula"),
        ]));
  set(parts.bad_line_count, number(pipeline.bad_lines.length));
  fill(parts.bad_lines, JSON.stringify(pipeline.bad_lines), () =>
    [...pipeline.bad_lines].reverse().map(({ reason, source, line, text }) => {
      const item = element("li", `${source}, line ${line}: ${reason}`);
      if (text !== undefined) item.append(element("code", text));
      return item;
    }));
}

function look(pipelines) {
  const now = performance.now();
  pipelines.forEach((pipeline) => show(pipeline, now));
  const names = new Set(pipelines.map(({ name }) => name));
  for (const [name, { section }] of seen) {
    if (!names.has(name)) {
      section.remove();
      seen.delete(name);
    }
  }
  const troubled = pipelines.filter(({ troubles }) => troubles.length > 0).length;
  const state = troubled === 0 ? "all pipelines deliver" : `${troubled} of ${pipelines.length} pipelines cannot deliver`;
  say(`Live: ${state}.`, false);
}

async function read() {
  const aborted = new AbortController();
  let silent = setTimeout(() => aborted.abort(), SILENCE);
  try {
    const reply = await fetch("events", { headers: headers(), signal: aborted.signal });
    if (isRefused(reply)) return false;
    if (!reply.ok) throw new Error(await reply.text());
    const text = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await text.read();
      if (done) break;
      clearTimeout(silent);
      silent = setTimeout(() => aborted.abort(), SILENCE);
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      if (events.length > 0) look(JSON.parse(events[events.length - 1].slice("data: ".length)));
    }
  } catch {
    // It is said below.
  } finally {
    clearTimeout(silent);
  }
  say("The connection is lost; the numbers below are old. Trying again.", true);
  return true;
}

async function run() {
  while (await read()) await pause(RETRY_AFTER);
}

onToken(run);
run();
