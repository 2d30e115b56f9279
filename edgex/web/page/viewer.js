// The page: what comes from the server goes to its places; buttons and keys go to the server.
import { Controls } from "./controls.js";
import { Link } from "./link.js";
import { LivePicture } from "./picture.js";
import { Plot, colorOf } from "./plot.js";
import { takeSnapshot } from "./snapshot.js";

const QUIET_S = 3;
const PLOT_MS = 200;
const byId = (id) => document.getElementById(id);
const put = (id, text) => { if (byId(id).textContent !== text) byId(id).textContent = text; };
const stored = (key, value) => {
  try { return value === undefined ? localStorage.getItem(key) : localStorage.setItem(key, value); } catch { return null; }
};

const picture = new LivePicture(byId("figure"), byId("picture"), byId("waiting"));
const controls = new Controls((fields) => { put("why", ""); link.change(fields); });
const stages = new Plot(byId("stages"), "ms"), rate = new Plot(byId("rate"), "/s");
let started = "", isLive = false, plottedMs = 0, stageNames = [];

const link = new Link({
  onState(state) {
    if (state.classes) begin(state);
    controls.show(state);
    figures(state);
    standing(state);
  },
  onError(sentence) { put("why", sentence); },
  onStatus(open, waitMs) {
    isLive = open;
    picture.follow(open);
    if (!open) {
      status("off", "No connection");
      banner("off", `The viewer does not answer; trying again${waitMs > 1500 ? ` in ${Math.round(waitMs / 1000)} s` : ""}.`);
      picture.say("");
    }
  },
});

function begin(state) {
  const model = JSON.stringify(state.classes);
  if (model !== started) controls.build(state.classes, state.styles);
  started = model;
  byId("about").replaceChildren(...Object.entries(state.about).map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(Object.assign(document.createElement("dt"), { textContent: name }));
    pair.append(Object.assign(document.createElement("dd"), { textContent: value, title: value }));
    return pair;
  }));
  const source = state.about.source;
  document.title = source ? `${source} · edgex` : "edgex";
}

function figures({ record, fps, source, frames, viewers, uptime_s: uptime, late: lateFrames }) {
  put("fps", fps.toFixed(fps < 9.95 ? 1 : 0));
  put("age", typeof record?.age_ms === "number" ? record.age_ms.toFixed(0) : "–");
  put("late", String(lateFrames));
  put("dropped", String(source.dropped));
  put("foot", `${frames.toLocaleString("en")} frames in ${duration(uptime)} · ${viewers} watching`);
  faithfulness(record?.monitor);
  if (!record?.ms || performance.now() - plottedMs < PLOT_MS) return;
  plottedMs = performance.now();
  for (const name of Object.keys(record.ms)) {
    if (name !== "wait" && !stageNames.includes(name)) stageNames.push(name); // waiting for a camera is no work
  }
  const values = stageNames.map((name) => record.ms[name] ?? 0);
  stages.add(values);
  rate.add([fps]);
  legend(values);
}

function legend(values) {
  const list = byId("legend");
  while (list.children.length < stageNames.length) {
    const item = document.createElement("li");
    const name = Object.assign(document.createElement("span"), { textContent: stageNames[list.children.length] });
    item.append(document.createElement("i"), name, document.createElement("b"));
    list.append(item);
  }
  values.forEach((value, index) => {
    const [swatch, , figure] = list.children[index].children;
    swatch.style.backgroundColor = colorOf(index);
    figure.textContent = value.toFixed(1);
  });
  put("sum", `${values.reduce((sum, value) => sum + value, 0).toFixed(1)} ms of work`);
}

function faithfulness(monitor) {
  if (!monitor) return; // most frames are not measured: the last figure stays
  byId("faith-figures").hidden = false;
  put("faith-of", monitor.label ?? "");
  for (const name of ["kept", "lost"]) {
    put(name, `${Math.round(monitor[name] * 100)} %`);
    byId(`${name}-bar`).style.transform = `scaleX(${Math.min(1, Math.max(0, monitor[name]))})`;
  }
  put("faith-hint", "Kept: the share of the score that the masked part alone still gets. Lost: the share that goes when it is covered. Near 100 % both, the mask is true.");
}

// What the pill, the banner and the picture say of server and source.
function standing({ source, quiet_s: quiet, frames }) {
  if (!isLive) return;
  if (!source.connected) {
    status("wait", "Reconnecting");
    banner("wait", source.detail || "The source gives no pictures; it is opened again.");
  } else if (!frames || quiet > QUIET_S) {
    status("wait", frames ? "No new frames" : "Starting");
    banner("", "");
  } else {
    status("live", "Live");
    banner("", "");
  }
  picture.say(frames ? "" : "Waiting for the first picture");
}

function status(is, words) {
  byId("state").dataset.is = is;
  put("state-text", words);
}

function banner(is, words) {
  byId("banner").hidden = !words;
  byId("banner").dataset.is = is;
  put("banner", words);
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  stored("edgex-theme", root.dataset.theme);
  stages.draw();
  rate.draw();
}

function snapshot() {
  takeSnapshot(byId("snapshot")).catch((error) => put("why", `expected a snapshot, got: ${error.message}`));
}

const KEYS = {
  "1": () => controls.style(0), "2": () => controls.style(1), "3": () => controls.style(2), "4": () => controls.style(3),
  "[": () => controls.step("opacity", -1), "]": () => controls.step("opacity", 1),
  ",": () => controls.step("threshold", -1), ".": () => controls.step("threshold", 1),
  "-": () => controls.step("top", -1), "+": () => controls.step("top", 1), "=": () => controls.step("top", 1),
  a: () => controls.allOn(), c: () => document.querySelector("#classes input")?.focus(),
  s: snapshot, f: () => picture.toggleFull(), t: toggleTheme, "?": () => byId("help-dialog").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.key === "Escape") byId("figure").classList.remove("fill");
  const typing = event.target.matches?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || !(byId("keys-on").checked || event.key === "?")) return;
  event.preventDefault();
  act();
});
byId("keys-on").checked = stored("edgex-keys") !== "off";
byId("keys-on").addEventListener("change", (event) => stored("edgex-keys", event.target.checked ? "on" : "off"));
byId("help").addEventListener("click", KEYS["?"]);
byId("theme").addEventListener("click", toggleTheme);
byId("full").addEventListener("click", () => picture.toggleFull());
byId("snapshot").addEventListener("click", snapshot);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}
