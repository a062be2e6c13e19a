// What the pages of the admin listener share: the token, and what is said of the connection.
"use strict";

const RETRY_AFTER = 2000;

const byId = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
// What the script fills in.
const live = byId("live");
let token = "";

function say(text, isLost) {
  const status = byId("connection");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("lost", isLost);
  live.classList.toggle("stale", isLost);
}

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Whether the reply asks for a token, or for another one.
function isRefused(reply) {
  const isRefused = reply.status === 401;
  byId("login").hidden = !isRefused;
  if (isRefused) say(token ? "That token is wrong." : "A token is needed.", token !== "");
  return isRefused;
}

function onToken(run) {
  byId("login").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value;
    run();
  });
}

