// Reads `report.html` once a second while somebody may look at it, and brings the page up to it. The
// server has escaped what comes from logs.

const EVERY = 1000;
const SILENCE = 30000;

// Makes one element like another, part by part: what is focused, open, scrolled or selected stays so.
function follow(element, wanted) {
  for (const { name } of [...element.attributes]) {
    // Whether details are open is up to the reader.
    if (name !== "open" && !wanted.hasAttribute(name)) element.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  const old = [...element.childNodes];
  const all = [...wanted.childNodes];
  old.slice(all.length).forEach((child) => child.remove());
  all.forEach((child, place) => {
    const before = old[place];
    if (!before) element.append(child);
    else if (before.nodeName !== child.nodeName) before.replaceWith(child);
    else if (child.nodeType !== Node.ELEMENT_NODE) {
      if (before.data !== child.data) before.data = child.data;
    } else if (!before.isEqualNode(child)) follow(before, child);
  });
}

async function read() {
  try {
    const reply = await fetch(`report.html${location.search}`, {
      headers: headers(),
      signal: AbortSignal.timeout(SILENCE),
    });
    if (isRefused(reply)) return false;
    const text = await reply.text();
    if (reply.status === 404) {
      say(`${text.trim()}.`, true);
      return true;
    }
    if (!reply.ok) throw new Error(text);
    const isFirst = !live.firstChild;
    follow(live, new DOMParser().parseFromString(`<div id="live">${text}</div>`, "text/html").body.firstChild);
    say("Live, once a second.", false);
    if (isFirst && location.hash) byId(location.hash.slice(1))?.scrollIntoView();
  } catch {
    say("The connection is lost; the numbers below are old. Trying again.", true);
    await pause(RETRY_AFTER);
  }
  return true;
}

const seen = () =>
  new Promise((resolve) => {
    if (!document.hidden) resolve();
    else document.addEventListener("visibilitychange", resolve, { once: true });
  });

async function run() {
  while (await read()) {
    await pause(EVERY);
    await seen();
  }
}

onToken(run);
run();
