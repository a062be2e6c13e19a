// A browser without a window, and one tab of it.
"use strict";

const { spawn } = require("node:child_process");
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");

const connect = require("chrome-remote-interface");

/** Runs `check` with a browser's tab, and ends the browser. */
async function withBrowser(check) {
  const profile = mkdtempSync(path.join(tmpdir(), "check-page-"));
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  const browser = spawn("chromium", [...flags, "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"], {
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    const port = await new Promise((found, failed) => {
      let said = "";
      browser.on("error", failed);
      browser.on("exit", () => failed(new Error(`chromium ended: ${said}`)));
      browser.stderr.on("data", (bytes) => {
        said += bytes;
        const listening = said.match(/DevTools listening on ws:\/\/[^:]+:(\d+)/);
        if (listening) found(Number(listening[1]));
      });
    });
    const tab = await connect({ port });
    await check(tab);
    await tab.close();
  } finally {
    const ended = new Promise((ended) => browser.on("close", ended));
    process.kill(-browser.pid, "SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** What evaluates an expression in the page of that tab, promises included. */
const evaluator =
  ({ Runtime }) =>
  async (expression) => {
    const { result, exceptionDetails } = await Runtime.evaluate({ expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };

/** In the page: a page that a script fills in has its first heading. */
async function filled() {
  const isEmpty = () => document.querySelector("#live") && !document.querySelector("#live h2");
  for (let tries = 0; isEmpty() && tries < 400; tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  if (isEmpty()) throw new Error(`nothing is shown: ${document.body.innerText}`);
}

module.exports = { evaluator, filled, withBrowser };
