// The desktop's page: connects, says how things are, and comes back after an interruption.
//
// What may follow # in the address, joined by &: token=… (who may come in; it is removed from the address at once), view-only.

/** WebSocket close codes after which the desktop may be back in a moment: lost, away, failed, restarting, not ready. */
const PASSING = new Set([1001, 1005, 1006, 1011, 1012, 1013]);
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** After a longer absence, something else may have been copied on the desktop, which tells nobody who was away. */
const SHORT_ABSENCE = 60_000;
/** So often the page is loaded again where a part of it did not come. */
const MOST_LOADS = 5;
/** HTTP statuses after which it may be let in in a moment: too many viewers, not ready. */
const PASSING_REFUSALS = new Set([429, 503]);
const TOKEN_PREFIX = "outrigger.token.";
/** What a token may consist of: base64url, and the dot of signed claims. */
const TOKEN = /^[\w.-]+$/;
const ASK = "whoever gave you this address, or runs this desktop, can give you one";

const element = (id) => document.getElementById(id);
/** As the address was given, with the token. */
const fragment = location.hash;
const options = takeOptions();
let RFB;
let rfb = null;
let pause = FIRST_PAUSE;
let retry = 0;
/** Whether the desktop has answered on this connection. */
let hasAnswered = false;
/** When there was a desktop last. */
let lostAt = 0;
/** What was written here for the desktop, and when, unless something else was copied since. */
let written = null;
let writtenAt = 0;

function takeOptions() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token")) {
    const kept = new URLSearchParams(given);
    kept.delete("token");
    // Words without a value stay as they were written.
    const rest = kept.toString().replace(/=(?=&|$)/g, "");
    history.replaceState(history.state, "", rest ? `#${rest}` : location.pathname + location.search);
  }
  return { token: given.get("token"), viewOnly: given.has("view-only") };
}

function say(text, isProblem = false) {
  element("status").textContent = text;
  element("status").classList.toggle("problem", isProblem);
}

function address() {
  const url = new URL("websockify", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url;
}

/** Why the desktop lets nobody in: no browser tells its page what a server has answered instead of a WebSocket. */
async function refusal() {
  const headers = options.token ? { "Outrigger-Token": options.token } : {};
  const answer = await fetch("admittance", { method: "POST", headers }).catch(() => null);
  if (!answer || answer.ok) return null;
  const { status } = answer;
  return { status, text: (await answer.text().catch(() => "")).trim() };
}

function connect() {
  clearTimeout(retry);
  if (options.token !== null && !TOKEN.test(options.token)) {
    say(`This link is damaged: ${ASK}`, true);
    return;
  }
  element("connect").hidden = true;
  say("Connecting …");
  const protocols = options.token ? ["binary", TOKEN_PREFIX + options.token] : ["binary"];
  const socket = new WebSocket(address(), protocols);
  // noVNC tells neither code nor reason.
  let ended = { code: 1006, reason: "", wasOpen: false };
  let wasOpen = false;
  socket.addEventListener("open", () => { wasOpen = true; });
  socket.addEventListener("close", ({ code, reason }) => { ended = { code, reason, wasOpen }; });

  rfb = new RFB(element("screen"), socket, { shared: true });
  rfb.viewOnly = options.viewOnly;
  rfb.background = "transparent";
  fit();
  rfb.addEventListener("connect", () => {
    pause = FIRST_PAUSE;
    say(options.viewOnly ? "Connected, view only" : "Connected");
    rfb.focus();
    // The first answer of TigerVNC says what its clipboard takes; noVNC has read that before this listener is called.
    hasAnswered = false;
    socket.addEventListener("message", answered, { once: true });
  });
  rfb.addEventListener("desktopname", ({ detail }) => rename(detail.name));
  rfb.addEventListener("clipboard", ({ detail }) => receive(detail.text));
  rfb.addEventListener("securityfailure", ({ detail }) => say(`The desktop refuses: ${detail.reason ?? detail.status}`, true));
  rfb.addEventListener("disconnect", () => queueMicrotask(() => disconnected(ended)));
}

async function disconnected({ code, reason, wasOpen }) {
  rfb = null;
  if (hasAnswered) lostAt = Date.now();
  hasAnswered = false;
  const refused = wasOpen ? null : await refusal();
  if (refused && !PASSING_REFUSALS.has(refused.status)) {
    say(refused.status === 401 ? needsLink() : sentence(refused.text), true);
    return;
  }
  if (refused || PASSING.has(code)) {
    const wait = nextPause();
    say(`${refused ? sentence(refused.text) : reason || "The connection was lost"}; connecting again …`, true);
    retry = setTimeout(connect, wait);
  } else {
    say(reason || "The session has ended", true);
  }
  element("connect").hidden = false;
}

function nextPause() {
  const wait = pause * (0.75 + Math.random() / 2);
  pause = Math.min(pause * 2, LONGEST_PAUSE);
  return wait;
}

/** A ticket is good once and claims are good for a time, so a page that comes back may have neither any more. */
function needsLink() {
  return options.token ? `This link is not good any more: it was used, or has expired; ${ASK}` : `This desktop opens by a link of your own: ${ASK}`;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function rename(name) {
  if (!name) return;
  element("name").textContent = name;
  document.title = name;
}

// --- Clipboard: text in both directions, as far as the desktop and the browser allow.

function answered() {
  hasAnswered = true;
  if (writtenAt < lostAt && Date.now() - lostAt > SHORT_ABSENCE) written = null;
  offer();
}

/** Tells the desktop that there is a text to paste. It stays here until it is pasted there, so each connection is told anew. */
function offer() {
  // What is sent before the first answer would lose every letter that Latin-1 has not.
  if (hasAnswered && written !== null) rfb?.clipboardPasteFrom(written);
}

function write(text) {
  written = text;
  writtenAt = Date.now();
  offer();
  // Nothing is no text to come back to.
  if (text === "") written = null;
}

async function receive(text) {
  element("clipboard-text").value = text;
  written = null;
  // Only secure pages that have the focus may write it, and a browser may refuse even those.
  if (navigator.clipboard && document.hasFocus()) {
    await navigator.clipboard.writeText(text).catch(() => {});
  }
}

function toggleClipboard() {
  const isOpen = element("clipboard-panel").toggleAttribute("hidden") === false;
  element("clipboard").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) element("clipboard-text").focus();
  else rfb?.focus();
}

// --- Size: the desktop takes the window's size where it may, and is scaled where it may not.

function fit() {
  if (!rfb) return;
  const isFitting = element("fit").getAttribute("aria-pressed") === "true";
  rfb.resizeSession = isFitting;
  rfb.scaleViewport = isFitting;
  rfb.clipViewport = !isFitting;
  rfb.dragViewport = false;
}

function toggleFit() {
  const isFitting = element("fit").getAttribute("aria-pressed") === "true";
  element("fit").setAttribute("aria-pressed", String(!isFitting));
  fit();
}

function toggleFullscreen() {
  const changed = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
  changed.catch((error) => say(`The browser refuses full screen: ${error.message}`, true));
}

async function start() {
  element("connect").addEventListener("click", connect);
  element("clipboard").addEventListener("click", toggleClipboard);
  element("clipboard-text").addEventListener("input", ({ target }) => write(target.value));
  element("attention").addEventListener("click", () => rfb?.sendCtrlAltDel());
  element("fit").addEventListener("click", toggleFit);
  element("fullscreen").addEventListener("click", toggleFullscreen);
  document.addEventListener("fullscreenchange", () => {
    element("fullscreen").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement)));
  });
  try {
    ({ default: RFB } = await import("./novnc/core/rfb.js"));
  } catch (error) {
    await loadAgain(error);
    return;
  }
  forgetLoads();
  connect();
}

/** So that what fails another day is tried as often again. */
function forgetLoads() {
  history.replaceState(null, "", location.href);
}

/** A document remembers of a module that it could not be fetched, so another try takes a new one: as soon as the way is free again. */
async function loadAgain(error) {
  const answer = await fetch("novnc/core/rfb.js").catch(() => null);
  if (answer?.status === 404) {
    say(await answer.text(), true);
    return;
  }
  const loads = history.state?.loads ?? 0;
  // What a browser can't read (another kind of error) it can't read the next time either.
  const isPassing = error instanceof TypeError && loads < MOST_LOADS;
  say(`The page can't be loaded: ${error.message}${isPassing ? "; trying again …" : ""}`, true);
  if (!isPassing) {
    forgetLoads();
    return;
  }
  setTimeout(() => {
    if (!answer?.ok) {
      loadAgain(error);
      return;
    }
    history.replaceState({ loads: loads + 1 }, "", location.pathname + location.search + fragment);
    location.reload();
  }, nextPause());
}

await start();
