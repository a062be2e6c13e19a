// What a reader of the live report keeps while it changes, and what the page asks for while nobody looks; see
// ../README.md.
"use strict";

const { evaluator, filled, withBrowser } = require("./browser.js");

/** In the page: the reader opens, focuses and scrolls. */
function begin() {
  const scroll = [...document.querySelectorAll(".scroll")].find((part) => part.scrollWidth > part.clientWidth);
  scroll.scrollLeft = 40;
  scroll.focus();
  document.querySelector("details").open = true;
  scrollTo(0, 300);
  window.kept = { scroll, details: document.querySelector("details") };
}

/** In the page: what is left of that. */
function end() {
  const { scroll, details } = window.kept;
  return {
    is_open: details.isConnected && details.open,
    is_focused: scroll.isConnected && document.activeElement === scroll,
    is_scrolled: scroll.scrollLeft === 40 && scrollY === 300,
  };
}

const figure = `document.querySelector(".figure").textContent`;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function main([url, pixel]) {
  await withBrowser(async (tab) => {
    const { Emulation, Network, Page } = tab;
    const evaluate = evaluator(tab);
    let requests = 0;
    Network.requestWillBeSent(({ request }) => (requests += request.url.includes("report.html") ? 1 : 0));
    await Promise.all([Network.enable(), Page.enable()]);
    // A window of its own is never hidden without a screen: the page is told so.
    await Page.addScriptToEvaluateOnNewDocument({
      source: "window.isHidden = false; Object.defineProperty(document, 'hidden', { get: () => window.isHidden });",
    });
    await Emulation.setDeviceMetricsOverride({ width: 390, height: 844, deviceScaleFactor: 1, mobile: true });
    const loaded = Page.loadEventFired();
    await Page.navigate({ url });
    await loaded;
    await evaluate(`(${filled})()`);
    await evaluate(`(${begin})()`);
    const before = await evaluate(figure);
    await (await fetch(pixel)).arrayBuffer();
    let after = before;
    for (let tries = 0; after === before && tries < 400; tries++) {
      await pause(50);
      after = await evaluate(figure);
    }
    const kept = await evaluate(`(${end})()`);
    const show = (isHidden) =>
      evaluate(`window.isHidden = ${isHidden}; document.dispatchEvent(new Event("visibilitychange")); undefined`);
    await show(true);
    // What was asked for already may still be sent.
    await pause(1500);
    requests = 0;
    await pause(3500);
    const hidden = requests;
    await show(false);
    for (let tries = 0; requests === hidden && tries < 400; tries++) await pause(50);
    process.stdout.write(JSON.stringify({ before, after, ...kept, hidden, shown: requests - hidden }) + "\n");
  });
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`watch_page.js: ${error.stack}`);
  process.exitCode = 1;
});
