// The page about the running stack: a form that sends requests, and the course of each as the product's log tells it.
"use strict";

const OWN = { "content-type": "application/json", "x-demo": "page" };
const KEPT = 50; // requests, as on the server
const AWAY = 2000; // ms until a cloud that does not answer is asked again
const AGAIN = 250; // ms between two drawings while a request is open
const requests = new Map(); // by name, oldest first
const names = new Map(); // what servers and volumes are called
const find = (id) => document.getElementById(id);
let shown = null; // the name of the request whose course is drawn
let chosen = false; // whether somebody wanted this one, so that no newer one takes its place
let ready = false;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function picture(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const called = (id) => names.get(id) || id;
const words = (code) => code.replaceAll("_", " ");

// ------------------------------------------------------------------------------------------------------- the form

async function post(path, content) {
  const answer = await fetch(path, { method: "POST", headers: OWN, body: JSON.stringify(content) });
  return [answer.ok, await answer.json()];
}

function said(text, wrong = false) {
  const answer = find("answer");
  answer.textContent = text;
  answer.classList.toggle("no", wrong);
}

let reading = 0;
function readServers() {
  clearTimeout(reading);
  reading = setTimeout(async () => {
    const inventory = await (await fetch("/_demo/servers")).json().catch(() => null);
    if (inventory && inventory.simulated) showServers(inventory);
    if (!inventory || inventory.away) reading = setTimeout(readServers, AWAY);
  }, 200);
}

function showServers(inventory) {
  find("away").hidden = !inventory.away;
  find("away").textContent = inventory.away || "";
  if (inventory.away) return; // what was read before stays
  const held = document.activeElement && document.activeElement.name === "volume";
  const before = find("form").elements.volume && find("form").elements.volume.value;
  const cards = inventory.servers.map((server) => {
    names.set(server.server_id, server.name);
    const disks = server.disks.map((disk) => diskOf(server, disk));
    const about = element("small", {}, `${server.status} · ${server.os}`);
    const none = element("p", { className: "quiet" }, "no disks");
    return element("fieldset", {}, element("legend", {}, server.name, about),
      disks.length ? element("div", { className: "disks" }, ...disks) : none);
  });
  for (const disk of inventory.free) names.set(disk.volume_id, disk.name);
  if (inventory.free.length) {
    const free = inventory.free.map((disk) => `${disk.name} (${disk.status})`).join(", ");
    cards.push(element("p", { className: "quiet free" }, `Attached to no server: ${free}`));
  }
  find("servers").replaceChildren(...cards);
  const all = [...document.querySelectorAll("input[name=volume]")];
  const choice = all.find((one) => one.value === before) || all.find((one) => one.dataset.free) || all[0];
  if (choice) {
    choice.checked = true;
    if (held) choice.focus();
  }
  showData();
  redraw();
}

function diskOf(server, disk) {
  names.set(disk.volume_id, disk.name);
  const radio = element("input", { type: "radio", name: "volume", value: disk.volume_id, required: true });
  radio.dataset.server = server.server_id;
  if (!disk.refused && !disk.waits && !disk.attest) radio.dataset.free = "yes";
  const facts = [`${disk.size} GiB`, disk.device, disk.status].filter(Boolean);
  const badge = disk.refused ? ["bad", `refused: ${words(disk.refused)}`]
    : disk.waits ? ["warn", "would wait"]
    : disk.attest ? ["warn", "if unmounted"] : ["good", "can be detached"];
  return element("label", { className: "choice" }, radio,
    element("span", {},
      element("span", { className: "row" }, element("b", {}, disk.name),
        element("span", { className: `badge ${badge[0]}` }, badge[1])),
      element("small", {}, facts.join(" · ")),
      disk.why ? element("small", { className: "why" }, sentence(disk.why)) : ""));
}

function wish() {
  const form = find("form"), volume = form.querySelector("input[name=volume]:checked");
  if (!volume) return null;
  const data = { server_id: volume.dataset.server, volume_id: volume.value };
  for (const name of ["unmounted", "dry_run"]) if (form.elements[name].checked) data[name] = true;
  return { scenario: form.elements.scenario.value, data };
}

function showData() {
  const asked = wish();
  find("data").textContent = asked ? JSON.stringify(asked.data, null, 2) : "";
  find("scene").textContent = find("form").querySelector("input[name=scenario]:checked").dataset.sentence;
  find("send").textContent = find("form").elements.dry_run.checked ? "Check" : "Detach";
}

async function send(event) {
  event.preventDefault();
  const asked = wish();
  if (!asked) {
    said("No disk is chosen: the servers have not been read yet.", true);
    return;
  }
  said("Sending …");
  try {
    const [ok, told] = await post("/_demo/requests", asked);
    if (ok && told.status === 202) {
      said(`The webhook answered 202: request ${told.id} is in the queue.`);
      history.pushState(null, "", `#request-${encodeURIComponent(told.id)}`);
      show(told.id, true);
      find("course").scrollIntoView({ block: "nearest" });
    } else {
      const why = told.answer || told;
      const faults = (why.errors || []).map((fault) => `${fault.field} ${fault.detail}`).join("; ");
      said([told.status, why.detail, faults].filter(Boolean).join(" "), true);
    }
  } catch {
    said("The local stack does not answer. Is `make serve` still running?", true);
  }
}

async function reset() {
  try {
    await post("/_demo/reset", {});
    said("The simulated cloud is as it was at the start.");
    readServers();
  } catch {
    said("The local stack does not answer. Is `make serve` still running?", true);
  }
}

// ---------------------------------------------------------------------------------------- the course of a request

const verdictOf = (followed) => followed.verdicts.at(-1);
const isFinal = (verdict) => verdict !== undefined && verdict.event.data.verdict !== "unconfirmed";
// How a verdict looks: a dry run that would not detach is a warning, though the run itself has gone well.
const lookOf = ({ verdict, detail }) => verdict === "checked" && /fail|wait/.test(detail) ? "unconfirmed" : verdict;
const isOpen = (followed) => !isFinal(verdictOf(followed));
const isBlind = (step) => step.volume_status === undefined && step.listed_by_server === undefined;

function show(name, wanted = false) {
  shown = name;
  chosen = chosen || wanted;
  redraw();
}

function redraw() {
  listRequests();
  const followed = requests.get(shown);
  const parts = ["picture", "legend", "steps-title"];
  for (const id of parts) find(id).hidden = !followed;
  find("steps").replaceChildren();
  find("verdict").hidden = find("raw").hidden = true;
  if (!followed) {
    if (shown) find("course-of").textContent = `Nothing is known of request ${shown} here yet.`;
    return;
  }
  find("course-of").replaceChildren(element("span", { className: "id" }, followed.request_id), ": ",
    `${called(followed.volume_id)} of ${called(followed.server_id)}`, isOpen(followed) ? ", under way" : "");
  draw(followed);
  find("steps").replaceChildren(...told(followed).map(([at, strong, text]) => element("li", {},
    element("time", {}, `${(at - followed.at).toFixed(1)} s`),
    element("span", {}, element("b", {}, strong), text ? ` ${text}` : ""))));
  showVerdict(verdictOf(followed));
}

function showVerdict(verdict) {
  if (!verdict) return;
  const data = verdict.event.data, card = find("verdict");
  card.className = `verdict ${lookOf(data)}`;
  card.hidden = find("raw").hidden = false;
  const { deletes_sent: sent, polls } = data.evidence || {};
  const proof = sent === undefined ? "" : `DELETEs sent: ${sent}, looks: ${polls}, ${data.timing.seconds.toFixed(1)} s`;
  card.replaceChildren(element("b", {}, `${data.verdict}`), " ", element("code", {}, data.detail),
    ...[data.reason && data.reason.message, data.reason && data.reason.remedy, proof].filter(Boolean)
      .map((text) => element("p", {}, ...marked(text))));
  find("event").textContent = JSON.stringify(verdict.event, null, 2);
}

// Texts of the product mark code by backticks.
const marked = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));

// The same as the picture, in words: [when, what, more] for each step.
function told(followed) {
  const lines = followed.server_id && !followed.steps.length ? [] : [[followed.at, "Asked for.", ""]];
  followed.steps.forEach((step, at) => {
    const compute = { true: "compute lists the disk", false: "compute does not list it" }[step.listed_by_server];
    const storage = step.volume_status && `block storage says ${step.volume_status}`;
    const seen = [compute, storage].filter(Boolean).join(", ") || "nothing could be read";
    const answered = step.delete ? ` DELETE sent, answered ${step.delete}.` : "";
    const next = step.decision === "wait" ? ` ${sentence(step.why)} Looks again in ${step.seconds} s.`
      : step.decision === "conclude" ? ` Concluded: ${words(step.detail)}.` : ` ${sentence(step.why || step.decision)}`;
    lines.push([step.at, `Look ${at + 1}:`, `${seen}.${answered}${next}`]);
  });
  for (const { at, event } of followed.verdicts) {
    lines.push([at, `Verdict: ${event.data.verdict}`, `(${words(event.data.detail)}), off the event bus.`]);
  }
  return lines.sort((one, other) => one[0] - other[0]);
}

// A code stays as it is at the beginning of a sentence.
const sentence = (text) => text ? `${/^[a-z]+[_:]/.test(text) ? text[0] : text[0].toUpperCase()}${text.slice(1)}.`
  .replace(/\.\.$/, ".") : "";

const STEPS = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const LANES = [
  { label: "compute", more: "server lists it", of: (step) => step.listed_by_server,
    text: { true: "listed", false: "not listed" }, kind: { true: "listed", false: "gone" } },
  { label: "block storage", more: "volume status", of: (step) => step.volume_status,
    text: {}, kind: { "in-use": "in-use", available: "gone" } },
];
const BAR = 26, SIDE = 8, TAIL = 84;

// Where things are: the names of the lanes stand beside them, or above them where that leaves no room.
function places(width) {
  return width >= 560 ? { wide: true, left: 132, lanes: [24, 62], line: 112, axis: 134 }
    : { wide: false, left: SIDE, lanes: [40, 94], line: 154, axis: 174 };
}

function draw(followed) {
  const box = find("picture"), width = Math.max(240, Math.floor(box.clientWidth)), at = places(width);
  const last = verdictOf(followed), open = isOpen(followed), steps = followed.steps, now = Date.now() / 1000;
  const seen = steps.length ? steps.at(-1).at : followed.at;
  const next = open && steps.length && steps.at(-1).seconds ? seen + steps.at(-1).seconds : null;
  const end = open ? Math.max(seen, now) : last.at;
  const until = Math.max(2, (next && next > end ? next : end) - followed.at);
  const room = width - at.left - SIDE;
  // What the last look saw stands until the verdict and, so that it can be read, a little beyond.
  const span = open ? until * 1.03 : until / (1 - TAIL / room);
  const x = (time) => at.left + ((time - followed.at) / span) * room;
  const drawn = { lines: [], words: [] };
  const text = (kind, left, top, anchor, said) => drawn.words.push(
    picture("text", { class: kind, x: left, y: top, "text-anchor": anchor }, said));
  const line = (kind, left, top, bottom) => drawn.lines.push(
    picture("line", { class: kind, x1: left, x2: left, y1: top, y2: bottom }));
  const circle = (kind, left) => drawn.lines.push(picture("circle", { class: kind, cx: left, cy: at.line, r: 6 }));

  const tick = STEPS.find((one) => (one / span) * room >= 44) || 3600 * Math.ceil(span / 36000);
  for (let time = 0; time <= span; time += tick) {
    const place = x(followed.at + time);
    line("axis", place, 20, at.axis);
    text("tick", time ? place : at.left - 4, at.axis + 15, time === 0 ? "start" : place > width - 24 ? "end" : "middle",
      `${time} s`);
  }
  const upTo = open ? end : followed.at + span;
  LANES.forEach((lane, nth) => drawLane(drawn, lane, at, at.lanes[nth], steps, upTo, x, open ? null : x(last.at)));
  drawn.lines.push(picture("line", { class: "axis", x1: at.left, x2: x(upTo), y1: at.line, y2: at.line }));
  text("lane", 0, at.wide ? at.line + 4 : at.line - 14, "start", "the function");

  let free = -Infinity; // up to where a label at the top reaches
  for (const step of steps) {
    const place = x(step.at);
    if (step.delete) {
      line("cut", place, 16, at.line);
      if (place > free) {
        const before = place + TAIL > Math.min(width, ...followed.verdicts.map((verdict) => x(verdict.at)));
        text("cut-text", place, 12, before && place > TAIL ? "end" : "start", `DELETE ${step.delete.split(" ")[0]}`);
        free = place + TAIL;
      }
    }
    circle(isBlind(step) ? "blind" : "look", place);
  }
  if (next && next > now) circle("next", x(next));
  if (open) line("now", x(end), 20, at.axis);
  for (const { at: time, event } of followed.verdicts) {
    line("end", x(time), 16, at.line + 8);
    text("end-text", x(time), 12, x(time) + TAIL > width ? "end" : "start", event.data.verdict);
  }
  box.replaceChildren(picture("svg", { viewBox: `0 0 ${width} ${at.axis + 20}`, role: "img",
    "aria-label": `Course of request ${followed.request_id}, in words in the list of steps`,
    "aria-describedby": "steps" }, ...drawn.lines, ...drawn.words));
}

// A lane holds what was last read until the next look; where a look did not read it, the colour is pale.
function drawLane(drawn, lane, at, top, steps, end, x, verdict) {
  const word = (kind, left, y, said) => drawn.words.push(picture("text", { class: kind, x: left, y }, said));
  if (at.wide) {
    word("lane", 0, top + 11, lane.label);
    word("tick", 0, top + 25, lane.more);
  } else word("lane", 0, top - 6, `${lane.label}: ${lane.more}`);
  const groups = [];
  let state;
  steps.forEach((step, nth) => {
    const read = lane.of(step), until = nth + 1 < steps.length ? steps[nth + 1].at : Math.max(end, step.at);
    if (read !== undefined) state = read;
    const kind = state === undefined ? "unknown" : lane.kind[state] || (/^error/.test(state) ? "wrong" : "other");
    const left = x(step.at), right = Math.max(x(until), left + 2);
    const pale = read === undefined && state !== undefined ? " unread" : "";
    drawn.lines.push(picture("rect", { class: kind + pale, x: left, y: top, width: right - left, height: BAR }));
    const group = groups.at(-1);
    if (group && group.state === state) group.right = right;
    else groups.push({ state, left, right, kind });
  });
  for (const { state: what, left, right, kind } of groups) {
    const said = what === undefined ? "not read" : lane.text[what] || String(what);
    // Not across the mark of the verdict.
    const from = verdict && left < verdict && right > verdict && verdict - left < TAIL ? verdict : left;
    if (right - from < said.length * 6.4 + 10) continue;
    word(kind === "gone" || kind === "unknown" ? "in out" : "in", from + 6, top + 17, said);
  }
}

// ------------------------------------------------------------------------------------------------ the last requests

function listRequests() {
  find("none").hidden = requests.size > 0;
  const held = document.activeElement && document.activeElement.closest("#list a");
  const focused = held && held.hash;
  const rows = [...requests.values()].reverse().map((followed) => {
    const verdict = verdictOf(followed), when = new Date(followed.at * 1000);
    const data = verdict && verdict.event.data, disk = called(followed.volume_id) || "no volume";
    const href = `#request-${encodeURIComponent(followed.name)}`;
    const link = element("a", { href, className: "id" }, followed.name);
    const row = element("li", { className: followed.name === shown ? "chosen" : "" },
      element("time", { dateTime: when.toISOString() }, when.toLocaleTimeString([], { hour12: false })), link,
      element("span", {}, `${disk} of ${called(followed.server_id) || "no server"}`),
      element("span", { className: `badge ${data ? lookOf(data) : ""}` },
        data ? `${data.verdict}: ${words(data.detail)}` : "under way"));
    if (followed.name === shown) link.setAttribute("aria-current", "true");
    return row;
  });
  find("list").replaceChildren(...rows);
  if (focused) for (const link of document.querySelectorAll("#list a")) if (link.hash === focused) link.focus();
}

function byFragment() {
  const found = location.hash.match(/^#request-(.+)$/);
  if (!found) return;
  let name = found[1];
  try {
    name = decodeURIComponent(name);
  } catch {
    // Somebody has cut the link: no request is called so.
  }
  show(name, true);
  find("course").scrollIntoView({ block: "start" });
  find("course-title").focus({ preventScroll: true });
}

// ------------------------------------------------------------------------------------------------------- what comes

function listen() {
  const source = new EventSource("/_demo/events");
  const link = (text, live) => {
    find("link").textContent = text;
    find("link").classList.toggle("live", live);
  };
  source.onopen = () => link("live", true);
  source.onerror = () => {
    ready = false;
    link("not connected, trying again", false);
  };
  source.addEventListener("request", (event) => {
    const followed = JSON.parse(event.data), known = requests.get(followed.name);
    requests.set(followed.name, followed);
    if (requests.size > KEPT) requests.delete(requests.keys().next().value);
    if (!ready) return;
    if (!known && !chosen) shown = followed.name;
    if (followed.name === shown) {
      const line = told(followed).at(-1);
      find("status").textContent = line ? line.slice(1).join(" ") : "";
      redraw();
    } else listRequests();
    if (find("form")) readServers();
  });
  source.addEventListener("ready", (event) => {
    const kept = new Set(JSON.parse(event.data).names);
    for (const name of [...requests.keys()]) if (!kept.has(name)) requests.delete(name);
    ready = true;
    if (shown === null) byFragment();
    if (shown === null && requests.size) shown = [...requests.keys()].at(-1);
    redraw();
    if (find("form")) readServers();
  });
  source.addEventListener("cloud", () => find("form") && readServers());
}

if (find("form")) {
  find("form").addEventListener("submit", send);
  find("form").addEventListener("change", showData);
  find("reset").addEventListener("click", reset);
  showData();
}
addEventListener("hashchange", byFragment);
new ResizeObserver(() => requests.has(shown) && draw(requests.get(shown))).observe(find("picture"));
setInterval(() => {
  const followed = requests.get(shown);
  if (followed && isOpen(followed)) draw(followed);
}, AGAIN);
listen();
