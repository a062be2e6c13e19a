// What axe-core and a browser say of a page, in both colour schemes, on a desktop and a phone; see ../README.md.
"use strict";

const { readFileSync } = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const { evaluator, filled, withBrowser } = require("./browser.js");

const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** In the page: everything that can be folded is open, then axe looks at it. */
async function inspect() {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  const { violations } = await axe.run();
  const isWider = (element) => element.scrollWidth > element.clientWidth;
  const scrolling = [...document.querySelectorAll("body *")].filter(
    (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX) && isWider(element),
  );
  const isReachable = (element) => element.tabIndex >= 0 && element.getAttribute("aria-label");
  return {
    violations: violations.map(({ id, nodes }) => `${id}: ${nodes[0].html} (${nodes.length})`),
    scrolling: scrolling.length,
    unreachable: scrolling.filter((element) => !isReachable(element)).map((element) => element.outerHTML.slice(0, 99)),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
}

/** In the page: the colours of text and ground, and how many boxes would be cut on paper. */
function onPaper() {
  const { color, backgroundColor } = getComputedStyle(document.body);
  const charts = [...document.querySelectorAll("svg")];
  const cut = charts.filter((chart) => chart.getBoundingClientRect().right > innerWidth);
  return { color, ground: backgroundColor, cut: cut.length };
}

async function main([page]) {
  const isServed = page.startsWith("http://");
  const url = isServed ? page : pathToFileURL(path.resolve(page)).href;
  await withBrowser(async (tab) => {
    const { Emulation, Log, Network, Page, Runtime } = tab;
    const requests = [];
    const errors = [];
    Network.requestWillBeSent(({ request }) => requests.push(request.url));
    Log.entryAdded(({ entry }) => errors.push(entry.text));
    Runtime.exceptionThrown(({ exceptionDetails }) => errors.push(exceptionDetails.text));
    await Promise.all([Log.enable(), Network.enable(), Page.enable(), Runtime.enable()]);
    const evaluate = evaluator(tab);
    const isOwn = (request) => (isServed ? new URL(request).origin === new URL(url).origin : request === url);
    for (const width of [1200, 390]) {
      for (const scheme of ["light", "dark"]) {
        requests.length = errors.length = 0;
        const features = [{ name: "prefers-color-scheme", value: scheme }];
        await Emulation.setDeviceMetricsOverride({ width, height: 844, deviceScaleFactor: 1, mobile: width < 500 });
        await Emulation.setEmulatedMedia({ media: "", features });
        const loaded = Page.loadEventFired();
        await Page.navigate({ url });
        await loaded;
        await evaluate(`(${filled})()`);
        await evaluate(axe);
        const found = await evaluate(`(${inspect})()`);
        const others = requests.filter((request) => !isOwn(request));
        const ground = await evaluate("getComputedStyle(document.body).backgroundColor");
        await Emulation.setEmulatedMedia({ media: "print", features });
        const paper = await evaluate(`(${onPaper})()`);
        process.stdout.write(JSON.stringify({ width, scheme, ground, ...found, requests: others, errors, paper }) + "\n");
      }
    }
  });
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`check_page.js: ${error.stack}`);
  process.exitCode = 1;
});
