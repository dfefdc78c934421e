"use strict";
(() => {
// Everything that comes from the project is put in by textContent, so that it is shown and never run.
const $ = (id) => document.getElementById(id);
const DIGITS = "1234567890", COMMANDS = "uasnhgz", IDLE = 15 * 60e3;
const CLASS_KEYS = [...DIGITS, ..."bcdefijklmopqrtvwxy"];
const SKIPS = {skip: "skip", abstain: "abstain", none: "none_of_these"};
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

const query = new URLSearchParams(location.search);
const token = query.get("token") || kept("sessionStorage", "pickwise:token") || "";
if (query.has("token")) { keep("sessionStorage", "pickwise:token", token); history.replaceState(null, "", location.pathname); }
const session = kept("sessionStorage", "pickwise:session") || random();
keep("sessionStorage", "pickwise:session", session);

let about = null, me = kept("localStorage", "pickwise:annotator") || "", isHidden = kept("localStorage", "pickwise:hidden") === "1";
let queue = [], now = null, chosen = new Set(), outbox = [], mine = [], times = [], progress = {}, sending = false, filling = false;
let matches = [], at = 0, lastSeen = Date.now(), waits = 1000, emptyTimer = 0;
const sent = new Set(), pictures = new Map();

// Browsers may refuse to remember anything, in a frame for instance.
function kept(store, name) { try { return window[store].getItem(name); } catch { return null; } }
function keep(store, name, value) { try { window[store].setItem(name, value); } catch { /* then it is not remembered */ } }
function make(tag, text, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}
function say(text) { $("said").textContent = text; }
function complain(text) { $("problem").textContent = text; $("problem").hidden = !text; }

async function ask(path, body) {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body)});
  const told = await reply.json().catch(() => ({error: `the server answered ${reply.status}`}));
  return {code: reply.status, told};
}

// ---- Answers on their way: kept in the browser until the server has them on disk, sent again as often as it takes.
const boxName = () => `pickwise:${about.id}:outbox:${session}`;
function keepOutbox() { keep("localStorage", boxName(), JSON.stringify(outbox)); showSaved(); }
function adoptOutboxes() {
  // A page that was closed half-way has left answers; each has a key, so that it counts once, whoever sends it.
  try {
    for (const name of Object.keys(localStorage).filter((each) => each.startsWith(`pickwise:${about.id}:outbox:`))) {
      outbox.push(...JSON.parse(localStorage.getItem(name)));
      if (name !== boxName()) localStorage.removeItem(name);
    }
  } catch { /* nothing was remembered */ }
  for (const each of outbox) sent.add(each.body.item);
  keepOutbox();
}
async function send() {
  if (sending) return;
  sending = true;
  try { await sendAll(); } finally { sending = false; }
}
async function sendAll() {
  let pause = 500;
  while (outbox.length) {
    const {path, body} = outbox[0];
    const full = path === "/api/answer" ? {...body, have: held(), want: wanted(body)} : body;
    let reply;
    try { reply = await ask(path, full); } catch { reply = {code: 0, told: {}}; }
    if ([0, 401, 403, 500, 502, 503, 504].includes(reply.code)) {
      showSaved(reply.code === 401 || reply.code === 403 ? "This address is no longer valid: open the one that was printed last." : reply.told.error || "The server does not answer; it is tried again.");
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, 10e3);
      continue;
    }
    pause = 500;
    outbox.shift();
    keepOutbox();
    if (reply.code !== 200) complain(`Not saved: ${reply.told.error} (row ${rowOf(body.item)})`);
    else if (path === "/api/undo") regained(body.item, reply.told.withdrawn);
    take(reply.told, body.annotator);
  }
}
function rowOf(key) { return key.slice(key.indexOf("/") + 1); }
function regained(key, withdrawn) {
  for (const task of [now && now.task, ...queue]) if (task && task.key === key) task.isHeld = withdrawn;
}
function showSaved(problem) {
  const late = outbox.length;
  $("saved").className = problem ? "late" : "";
  $("saved").textContent = problem ? `${late} not saved yet. ${problem}` : late ? "Saving …" : sent.size ? "All saved" : "";
}

// ---- Rows: a few more than the one that is shown, so that the next is there at once.
const held = () => [now && now.task, ...queue].filter((task) => task && task.isHeld).map((task) => task.key);
const wanted = (body) => !body || (body.annotator === me && body.session === session) ? about.prefetched + 1 : 0;
function take(told, who) {
  if (told.progress) { progress = told.progress; showProgress(); }
  if (who !== me) return;  // who has changed the name meanwhile
  const gone = new Set(told.gone || []);
  queue = queue.filter((task) => !gone.has(task.key));
  const known = new Set([...queue.map((task) => task.key), now && now.task.key]);
  for (const task of told.tasks || []) {
    if (known.has(task.key) || sent.has(task.key)) continue;
    queue.push(Object.assign(task, {isHeld: true}));
    for (const part of task.parts) if (part.type === "image") picture(part.path).catch(() => {});
  }
  if (now && gone.has(now.task.key) && !sent.has(now.task.key)) {
    complain("The row that was shown here is no longer asked of you.");
    now = null;
  }
  if (!now) next();
}
async function fill() {
  if (filling || !about || !me) return;
  filling = true;
  const who = me;
  try {
    const reply = await ask("/api/next", {annotator: who, session, have: held(), want: wanted()});
    if (reply.code === 200) take(reply.told, who);
    else complain(reply.code === 401 ? "This address is no longer valid: open the one that was printed last." : reply.told.error);
  } catch { showSaved("The server does not answer."); }
  filling = false;
  if (who !== me) fill();
}
function next() {
  now = null;
  const task = queue.shift();
  if (task) return show(task);
  $("work").hidden = true;
  $("empty").hidden = false;
  showEmpty();
  clearTimeout(emptyTimer);
  emptyTimer = setTimeout(fill, waits);
  waits = Math.min(waits * 1.5, 2000);
}
function showEmpty() {
  const {asked = 0, done = 0, note = "", round} = progress;
  let head = "Nothing is asked at the moment", text = "Rows appear here as soon as they are asked for.";
  if (note) [head, text] = ["One moment", note];
  else if (asked && done >= asked) [head, text] = [`Round ${round} is complete`, "Thank you. More rows appear here when the next round begins."];
  else if (asked) [head, text] = ["Nothing more for you just now", `${asked - done} rows are with others, or wait for others to answer them too.`];
  if ($("empty-head").textContent !== head) { $("empty-head").textContent = head; say(head); }
  $("empty-text").textContent = text;
  $("empty-undo").hidden = !sent.size && !mine.length;
}
function showProgress() {
  const {asked = 0, done = 0, note = "", round} = progress;
  $("bar").max = Math.max(asked, 1);
  $("bar").value = done;
  $("count").textContent = asked ? `${done} of ${asked} · round ${round}` : "";
  $("note").textContent = note;
  $("note").hidden = !note || !now;
  if (!now) showEmpty();
}
function showPace() {
  const recent = times.slice(-30);
  const hours = (recent[recent.length - 1] - recent[0]) / 36e5;
  $("pace").textContent = recent.length > 4 && hours > 0 ? `· ${Math.round((recent.length - 1) / hours)} an hour` : "";
}

// ---- A row and what it looks like.
function show(task, before) {
  now = {task, since: performance.now(), before};
  waits = 1000;
  $("empty").hidden = true;
  $("work").hidden = false;
  const place = $("item");
  place.replaceChildren(...task.parts.flatMap(partOf));
  $("why").textContent = whyOf(task) + (before ? ` · you answered: ${labelOf(before)}` : "");
  chosen = new Set(before && Array.isArray(before.label) ? before.label : []);
  $("search").value = "";
  $("number").value = before && about.task === "regression" && before.label !== null ? before.label : "";
  showModel();
  showClasses();
  showProgress();
  if (about.task === "regression" && matchMedia("(hover: hover)").matches) $("number").focus({preventScroll: true});
  else place.focus({preventScroll: true});
  place.scrollTop = 0;
  scrollTo(0, 0);
}
function whyOf(task) {
  const why = {selected: "chosen by the model", initial: "one of the first", relabel: "asked again, as its label is doubtful", "new region": "unlike all that is labelled"}[task.why] || task.why;
  const score = task.score === null || task.why === "initial" ? "" : ` · score ${Number(task.score).toPrecision(3)}`;
  return `Row ${task.id} · ${why} · rank ${task.rank + 1}${score}${task.overlap > 1 ? ` · ${task.overlap} people answer it` : ""}`;
}
function labelOf({kind, label}) {
  if (kind === "label") return Array.isArray(label) ? label.join(", ") || "no class" : String(label);
  return {skip: "skipped", abstain: "cannot tell", none_of_these: "none of these"}[kind] || kind;
}
function partOf(part) {
  const named = part.name ? [make("h2", part.name, {dir: "auto"})] : [];
  if (part.type === "table") {
    const table = make("table");
    for (const [name, value] of part.rows) {
      const row = table.insertRow();
      row.append(make("th", name, {scope: "row", dir: "auto"}), make("td", value, {dir: "auto"}));
    }
    return [table];
  }
  if (part.type === "image" || part.type === "audio") return [...named, mediaOf(part)];
  if (part.type === "missing") return [...named, make("p", part.text, {className: "missing", dir: "auto"})];
  const text = make("div", null, {className: "text", dir: "auto", tabIndex: -1});
  text.append(...part.pieces.map(([piece, isMarked]) => (isMarked ? make("mark", piece) : document.createTextNode(piece))));
  return [...named, text];
}
function picture(path) {
  // As fetched bytes, so that the token goes along where cookies do not: in the frame of a notebook.
  if (!pictures.has(path)) {
    const address = "/media/" + path.split("/").map(encodeURIComponent).join("/");
    const coming = fetch(address, {headers: token ? {Authorization: `Bearer ${token}`} : {}}).then(async (reply) => {
      if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).error || `the server answered ${reply.status}`);
      return URL.createObjectURL(await reply.blob());
    });
    pictures.set(path, coming);
    coming.catch(() => pictures.delete(path));
    if (pictures.size > 24) {
      const [oldest] = pictures.keys();
      pictures.get(oldest).then(URL.revokeObjectURL, () => {});
      pictures.delete(oldest);
    }
  }
  return pictures.get(path);
}
function mediaOf(part) {
  const failed = (why) => place.replaceWith(make("p", `${part.called}: ${why}`, {className: "missing", dir: "auto"}));
  const isImage = part.type === "image";
  const place = isImage ? make("div", null, {className: "picture", tabIndex: 0}) : make("audio", null, {controls: true});
  const media = isImage ? make("img", null, {alt: part.called, draggable: false}) : place;
  if (isImage) { place.append(media); zoomable(place, media); }
  else place.setAttribute("aria-label", part.called);
  media.addEventListener("error", () => failed("cannot be shown; is it damaged?"));
  picture(part.path).then((address) => { media.src = address; }, (error) => failed(error.message));
  return place;
}
function zoomable(place, image) {
  let scale = 1, base = 0;
  const zoom = (wanted) => {
    if (scale === 1) base = image.clientWidth;
    scale = Math.min(Math.max(wanted, 1), 12);
    place.classList.toggle("zoomed", scale > 1);
    image.style.width = scale > 1 ? `${base * scale}px` : "";
  };
  image.addEventListener("click", () => zoom(scale > 1 ? 1 : Math.max(2, image.naturalWidth / Math.max(image.clientWidth, 1))));
  place.addEventListener("wheel", (event) => { event.preventDefault(); zoom(scale * (event.deltaY < 0 ? 1.25 : 0.8)); }, {passive: false});
}

// ---- What can be answered.
function showModel() {
  const task = now.task, list = task.suggestions;
  $("model").hidden = isHidden || !list.length;
  $("hide").hidden = !list.length;
  $("hide").setAttribute("aria-pressed", String(isHidden));
  $("suggestions").replaceChildren(...list.map(([name, share], place) => {
    const button = make("button", null, {type: "button"});
    button.append(make("b", name, {dir: "auto"}), make("span", `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`));
    if (!place && about.task === "multiclass") button.append(make("kbd", "Enter"));
    button.addEventListener("click", (event) => { if (event.detail < 2) choose(name); });
    const item = make("li");
    item.append(button);
    return item;
  }));
}
function showClasses() {
  const text = $("search").value.trim().toLowerCase(), names = about.classes;
  matches = text ? names.filter((name) => name.toLowerCase().includes(text)) : names;
  if (text) matches = [...matches].sort((a, b) => b.toLowerCase().startsWith(text) - a.toLowerCase().startsWith(text));
  at = 0;
  const isMany = names.length > 12;
  $("search-box").hidden = about.task === "regression" || !(isMany || about.other_classes);
  $("search-name").textContent = about.other_classes ? "Search classes, or name a new one  /" : "Search classes  /";
  $("number-form").hidden = about.task !== "regression";
  $("none").hidden = about.task === "regression";
  $("confirm").hidden = about.task !== "multilabel";
  const place = $("classes");
  place.className = isMany ? "many" : "few";
  place.hidden = about.task === "regression";
  place.replaceChildren(...matches.map((name, number) => classButton(name, text ? "" : CLASS_KEYS[number] || "", text && number === at)));
  const other = $("search").value.trim();
  if (about.other_classes && other && !names.includes(other)) place.append(classButton(other, "new", !matches.length));
}
function classButton(name, key, isAt) {
  const button = make("button", null, {type: "button", className: isAt ? "at" : ""});
  button.append(make("span", name, {dir: "auto"}));
  if (key) button.append(make("kbd", key));
  if (about.task === "multilabel") button.setAttribute("aria-pressed", String(chosen.has(name)));
  else if (now.before && now.before.label === name) button.setAttribute("aria-pressed", "true");
  button.dataset.name = name;
  button.addEventListener("click", (event) => { if (event.detail < 2) choose(name); });
  return button;
}
function choose(name) {
  if (about.task !== "multilabel") return answer("label", name);
  complain("");
  if (!chosen.delete(name)) chosen.add(name);
  say(`${name}: ${chosen.has(name) ? "chosen" : "not chosen"}`);
  if (!about.classes.includes(name)) about.classes.push(name);
  if ($("search").value) { $("search").value = ""; showClasses(); }
  for (const button of $("classes").children) button.setAttribute("aria-pressed", String(chosen.has(button.dataset.name)));
}
function confirm() {
  if (about.task === "regression") return saveNumber();
  if (about.task === "multilabel") {
    if (chosen.size) return answer("label", about.classes.filter((name) => chosen.has(name)));
    return hint("Nothing is chosen. N says that it is in none of the classes.");
  }
  const [best] = now.task.suggestions;
  return best && !isHidden ? answer("label", best[0]) : hint("There is no suggestion to accept.");
}
function saveNumber() {
  const number = $("number").valueAsNumber;
  return Number.isFinite(number) && Math.abs(number) <= 2 ** 53 ? answer("label", number) : hint("This is no number.");
}
function hint(text) { complain(text); say(text); }
function answer(kind, label = null) {
  if (!now) return;
  const {task, since} = now;
  if (kind === "none_of_these" && about.task === "multilabel") [kind, label] = ["label", []];
  if (kind === "label" && about.other_classes && typeof label === "string" && !about.classes.includes(label)) about.classes.push(label);
  complain("");
  const seconds = Math.min((performance.now() - since) / 1000, 3600);
  mine.push({task, kind, label});
  times.push(Date.now());
  showPace();
  now = null;
  // The answer is kept before the next row is shown, and sent after it.
  outbox.push({path: "/api/answer", body: {annotator: me, session, item: task.key, key: random(), kind, label, seconds}});
  sent.add(task.key);
  keepOutbox();
  next();
  say(`${labelOf({kind, label})}. ${now ? "Next row." : ""}`);
  setTimeout(send, 0);
}
async function undo() {
  let last = mine.pop();
  if (!last && !outbox.length) {
    const reply = await ask("/api/history", {annotator: me}).catch(() => ({code: 0}));
    if (reply.code === 200) last = reply.told.answers[0];
  }
  if (!last) return hint("There is nothing to undo.");
  const task = Object.assign(last.task, {isHeld: false});
  putBack(task);
  sent.delete(task.key);
  complain("");
  show(task, last);
  say(`Undone: ${labelOf(last)}.`);
  outbox.push({path: "/api/undo", body: {annotator: me, session, item: task.key, key: random()}});
  keepOutbox();
  send();
}
function putBack(instead) {
  // What is shown comes after what is shown instead, but for a row that has its answer and was only looked at again.
  if (now && !now.isCorrection) queue.unshift(now.task);
  queue = queue.filter((each) => each.key !== instead.key);
}
function correct(given) {
  const task = Object.assign(given.task, {isHeld: false});
  putBack(task);
  show(task, given);
  now.isCorrection = true;
}
function hideModel() {
  isHidden = !isHidden;
  keep("localStorage", "pickwise:hidden", isHidden ? "1" : "0");
  if (now) showModel();
  say(isHidden ? "The model's suggestions are hidden." : "The model's suggestions are shown.");
}

// ---- Dialogs.
async function showHistory() {
  const list = $("history");
  list.replaceChildren(make("li", "…"));
  $("history-dialog").showModal();
  const reply = await ask("/api/history", {annotator: me}).catch(() => ({code: 0, told: {}}));
  if (reply.code !== 200) return list.replaceChildren(make("li", reply.told.error || "The server does not answer."));
  list.replaceChildren(...reply.told.answers.map((given) => {
    const button = make("button", null, {type: "button"}), item = make("li");
    button.append(make("bdi", gist(given.task)), make("b", labelOf(given), {dir: "auto"}));
    button.addEventListener("click", () => { $("history-dialog").close(); correct(given); });
    item.append(button);
    return item;
  }));
  if (!list.children.length) list.append(make("li", "You have answered nothing yet."));
}
function gist(task) {
  const [part] = task.parts;
  const text = part.type === "text" ? part.pieces.map(([piece]) => piece).join("") : part.called || (part.rows && part.rows.map((row) => row[1]).join(" · ")) || "";
  return text.slice(0, 80) || `Row ${task.id}`;
}
function showKeys() {
  const rows = [["Enter", {multiclass: "accept the model's suggestion", multilabel: "confirm what is chosen", regression: "save the number"}[about.task]],
    ["S", "skip: somebody else may know"], ["A", "cannot tell"], ["N", "none of these"], ["U", "undo the last answer"], ["/", "search classes, Enter chooses"],
    ["H", "hide or show the model's suggestions"], ["G", "guidelines"], ["Z", "zoom into the image"], ["?", "these keys"]];
  if (about.task !== "regression") rows.unshift(["1 … 0, b …", "choose a class"]);
  $("keys").replaceChildren();
  for (const [key, what] of rows) { const row = $("keys").insertRow(); const cell = row.insertCell(); cell.append(make("kbd", key)); row.append(make("td", what)); }
  $("keys-dialog").showModal();
}
function askName() { $("name").value = me; $("name-dialog").showModal(); $("name").focus(); }

// ---- Keys.
const commands = {u: undo, s: () => answer("skip"), a: () => answer("abstain"), h: hideModel,
  n: () => about.task !== "regression" && answer("none_of_these"), g: () => about.guidelines && $("guidelines-dialog").showModal(),
  z: () => { const image = document.querySelector(".picture img"); if (image) image.click(); },
  "/": () => { if (!$("search-box").hidden) { $("search").focus(); $("search").select(); } }, "?": showKeys};
const quiet = new Set(["u", "g", "h", "?"]);
function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat || document.querySelector("dialog[open]") || !about) return;
  lastSeen = Date.now();
  if (event.target === $("search")) return inSearch(event);
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const inNumber = event.target === $("number");
  if (inNumber && !(COMMANDS.includes(key) || key === "?")) return;
  if (event.target.tagName === "BUTTON" && (key === "Enter" || key === " ")) return;
  if (!now && !quiet.has(key)) return;
  const number = about.task === "regression" ? -1 : CLASS_KEYS.indexOf(key);
  if (key === "Enter") confirm();
  else if (commands[key]) commands[key]();
  else if (number >= 0 && number < about.classes.length && !$("search").value) choose(about.classes[number]);
  else return;
  event.preventDefault();
}
function inSearch(event) {
  const buttons = [...$("classes").children];
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (step && buttons.length) {
    at = (at + step + buttons.length) % buttons.length;
    buttons.forEach((button, place) => button.classList.toggle("at", place === at));
    buttons[at].scrollIntoView({block: "nearest"});
  } else if (event.key === "Enter") {
    if ($("search").value.trim() && buttons.length) choose(buttons[Math.min(at, buttons.length - 1)].dataset.name);
    else if ($("search").value.trim()) hint("No class is called so.");
  } else if (event.key === "Escape") { $("search").value = ""; showClasses(); $("item").focus({preventScroll: true}); }
  else return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => { lastSeen = Date.now(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) fill(); });
  addEventListener("beforeunload", (event) => { if (outbox.length) event.preventDefault(); });
  for (const [id, kind] of Object.entries(SKIPS)) $(id).addEventListener("click", (event) => { if (event.detail < 2) answer(kind); });
  $("confirm").addEventListener("click", confirm);
  $("undo").addEventListener("click", undo);
  $("empty-undo").addEventListener("click", undo);
  $("hide").addEventListener("click", hideModel);
  $("search").addEventListener("input", () => { if (now) showClasses(); });
  $("number-form").addEventListener("submit", (event) => { event.preventDefault(); saveNumber(); });
  $("show-keys").addEventListener("click", showKeys);
  $("show-history").addEventListener("click", showHistory);
  $("show-guidelines").addEventListener("click", () => $("guidelines-dialog").showModal());
  $("annotator").addEventListener("click", askName);
  $("name-dialog").addEventListener("cancel", (event) => { if (!me) event.preventDefault(); });
  $("name-form").addEventListener("submit", (event) => {
    const name = $("name").value.trim();
    if (!name) return event.preventDefault();
    if (name !== me) { queue = []; now = null; mine = []; times = []; $("work").hidden = true; }
    me = name;
    keep("localStorage", "pickwise:annotator", me);
    $("annotator").textContent = me;
    fill();
  });
}
async function begin() {
  let reply;
  try { reply = await ask("/api/about"); } catch { reply = {code: 0, told: {error: "The server does not answer."}}; }
  if (reply.code !== 200) return complain(reply.told.error);
  about = reply.told;
  document.title = `${about.name} – labelling`;
  $("project").textContent = about.name;
  $("guidelines").textContent = about.guidelines;
  $("show-guidelines").hidden = !about.guidelines;
  $("annotator").textContent = me;
  listen();
  adoptOutboxes();
  send();
  // While somebody looks at a row it stays theirs.
  setInterval(() => { if (!document.hidden && Date.now() - lastSeen < IDLE && !sending) fill(); }, 1000 * about.lease / 3);
  if (me) fill(); else askName();
}
begin();
})();
