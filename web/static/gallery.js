// A grid as long as the list it shows, of which only what is near the window exists.
import { address, ask, pageOf } from "./base.js";

const byId = (id) => document.getElementById(id);
const grid = byId("grid"), form = byId("filters"), count = byId("count"), failed = byId("failed");
const PAGE = 60, GAP = 14, AHEAD = 3;
const TEXT = 3.1 * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);  // two lines below a picture
const TALLEST = 30_000_000;                 // browsers end elements at about 33 million pixels
const state = { items: new Map(), pages: new Map(), total: null, known: 0, more: true, abort: null, epoch: 0, across: 1, side: 160 };
const cells = new Map();                    // number in the list -> element
let queued = false;

// -- what is asked -----------------------------------------------------------------------------

/** The form as an address holds it: nothing that asks nothing, each tag by itself. */
function query() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    const text = String(value).trim();
    if (!text || (name === "sort" && text === "score") || (name === "order" && text === "desc")) continue;
    if (name === "tag") for (const tag of text.split(/[\s,]+/).filter(Boolean)) found.append("tag", tag.replace(/^#/, "").toLowerCase());
    else found.append(name, text);
  }
  const there = new URLSearchParams(location.search).get("study");
  if (there) found.set("study", there);
  return found;
}
function fill(params) {
  for (const field of form.elements) {
    if (!field.name) continue;
    const values = params.getAll(field.name);
    if (field.tagName === "SELECT") field.value = values[0] ?? field.querySelector("option[value='']")?.value ?? field.options[0].value;
    else field.value = values.join(" ");
  }
}
function filtered() { return [...query().keys()].filter((k) => !["sort", "order", "model", "study"].includes(k)).length > 0; }

// -- asking ------------------------------------------------------------------------------------

function begin({ keep = false } = {}) {
  state.abort?.abort();
  state.abort = new AbortController();
  state.epoch += 1;
  Object.assign(state, { items: new Map(), pages: new Map(), total: null, known: 0, more: true });
  failed.hidden = byId("none").hidden = true;
  byId("clear").hidden = !filtered();
  byId("all").disabled = true;
  if (!keep) scrollTo(0, 0);
  for (const [at, cell] of cells) { cell.remove(); cells.delete(at); }
  load(0).then(() => tell(state.epoch));    // the grid first: numbers never delay it
}
async function load(number) {
  if (state.pages.has(number)) return state.pages.get(number);
  const { epoch, abort } = state, before = state.pages.get(number - 1);
  const work = (async () => {
    const params = query();
    params.set("limit", PAGE);
    const cursor = before?.next;
    if (cursor) params.set("cursor", cursor); else if (number) params.set("at", number * PAGE);
    const page = await ask(address("/api/v1/rankings", params), { signal: abort.signal });
    if (epoch !== state.epoch) return;
    page.items.forEach((item, k) => state.items.set(page.at + k, item));
    state.known = Math.max(state.known, page.at + page.items.length);
    state.more = page.next !== null;
    if (state.total === null && page.next === null) state.total = page.at + page.items.length;
    state.pages.set(number, page);
    byId("none").hidden = !(state.known === 0);
    draw();
  })();
  state.pages.set(number, work);
  try { await work; } catch (error) {
    state.pages.delete(number);
    if (error.name !== "AbortError") fail(error);
  }
}
async function tell(epoch) {
  const started = setTimeout(() => { count.textContent = "Counting …"; }, 400);
  try {
    const counts = await ask(address("/api/v1/rankings/counts", query()), { signal: state.abort.signal });
    if (epoch !== state.epoch) return;
    state.total = counts.total;
    const one = counts.total === 1 ? "picture" : "pictures";
    count.textContent = counts.total === counts.all ? `${n(counts.total)} ${one}` : `${n(counts.total)} of ${n(counts.all)} pictures`;
    if (counts.without_value) count.textContent += ` · ${n(counts.without_value)} have nothing to sort by and come last`;
    byId("all").disabled = !counts.total;
    byId("all").textContent = `Select all ${n(counts.total)}`;
    facets(counts.facets);
    draw();
    const place = Number(sessionStorage.getItem(key()));
    if (place && !state.restored) scrollTo(0, place);
    state.restored = true;
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally { clearTimeout(started); }
}
function fail(error) {
  failed.hidden = false;
  failed.querySelector("p").textContent = [error.detail || error.title || String(error), error.hint].filter(Boolean).join(" – ");
  if (state.known === 0) count.textContent = "Nothing to show";
}
const n = (value) => value.toLocaleString("en");
const key = () => `gallery ${location.search}`;

// -- facets ------------------------------------------------------------------------------------

function facets(found) {
  const box = byId("facets"), asked = query(), chips = [];
  const add = (name, value, words, many) => {
    const on = asked.getAll(name).includes(value);
    if (!many && !on) return;
    const chip = document.createElement("button");
    chip.type = "button";
    chip.setAttribute("aria-pressed", on);
    if (name === "label") chip.className = value;
    chip.append(words, " ");
    const number = document.createElement("span");
    number.className = "n";
    number.textContent = n(many);
    chip.append(number);
    chip.addEventListener("click", () => {
      const field = form.elements[name];
      if (name === "tag") {
        const tags = new Set(asked.getAll("tag"));
        tags.has(value) ? tags.delete(value) : tags.add(value);
        field.value = [...tags].join(" ");
      } else field.value = on ? "" : value;
      changed();
    });
    chips.push(chip);
  };
  const words = { good: "liked more", bad: "liked less", test: "held out" };
  for (const name of ["label", "class", "said", "platform", "split"]) {
    if (!form.elements[name] || (found[name] ?? []).length < 2 && !asked.has(name)) continue;
    for (const { value, count: many } of found[name] ?? []) add(name, value, name === "said" ? `called ${value}` : words[value] ?? value, many);
  }
  for (const { value, count: many } of found.tag ?? []) add("tag", value, `#${value}`, many);
  box.replaceChildren(...chips);
  byId("tags").replaceChildren(...(found.tag ?? []).map(({ value }) => Object.assign(document.createElement("option"), { value })));
}

// -- the grid ----------------------------------------------------------------------------------

function measure() {
  const width = grid.clientWidth, least = width < 560 ? 104 : 168;
  state.across = Math.max(2, Math.floor((width + GAP) / (least + GAP)));
  state.side = (width - GAP * (state.across - 1)) / state.across;
}
const length = () => state.total ?? state.known + (state.more ? PAGE : 0);
const rowHeight = () => state.side + TEXT + GAP;
function draw() { if (!queued) { queued = true; requestAnimationFrame(paint); } }
function paint() {
  queued = false;
  measure();
  const rows = Math.ceil(length() / state.across), whole = rows * rowHeight(), shown = Math.min(whole, TALLEST);
  grid.style.height = `${shown}px`;
  const above = Math.max(0, -grid.getBoundingClientRect().top), view = innerHeight;
  // A list taller than an element may be scrolls faster than the finger, and still has both ends.
  const stretch = whole > shown ? (whole - view) / (shown - view) : 1;
  const top = above * stretch, shift = above - top;
  const first = Math.max(0, Math.floor(top / rowHeight()) - AHEAD) * state.across;
  const last = Math.min(length(), (Math.ceil((top + view) / rowHeight()) + AHEAD) * state.across);
  for (const [at, cell] of cells) if (at < first || at >= last) { cell.remove(); cells.delete(at); }
  for (let at = first; at < last; at++) {
    let cell = cells.get(at);
    const item = state.items.get(at);
    if (!cell || (item && cell.classList.contains("waiting"))) {
      const held = cell?.contains(document.activeElement);
      const made = item ? card(at, item) : blank();
      cell ? cell.replaceWith(made) : grid.append(made);
      cells.set(at, cell = made);
      if (held) made.querySelector("a")?.focus({ preventScroll: true });
    }
    const row = Math.floor(at / state.across), column = at % state.across;
    cell.style.width = `${state.side}px`;
    cell.style.height = `${state.side + TEXT}px`;
    cell.style.transform = `translate(${column * (state.side + GAP)}px, ${row * rowHeight() + shift}px)`;
  }
  order();
  if (length()) for (let p = Math.floor(first / PAGE); p <= Math.floor(Math.max(first, last - 1) / PAGE); p++) load(p);
}
/** The order of the elements is that of the list, so that Tab goes through it. */
function order() {
  let before = null;
  for (const at of [...cells.keys()].sort((a, b) => a - b)) {
    const cell = cells.get(at);
    if (before ? before.nextSibling !== cell : grid.firstChild !== cell) before ? before.after(cell) : grid.prepend(cell);
    before = cell;
  }
}
function blank() {
  const cell = document.createElement("li");
  cell.className = "cell waiting";
  cell.setAttribute("aria-hidden", "true");
  cell.append(Object.assign(document.createElement("span"), { className: "frame" }));
  return cell;
}
function card(at, item) {
  const cell = document.createElement("li"), link = document.createElement("a"), frame = document.createElement("span");
  cell.className = "cell";
  cell.setAttribute("aria-posinset", at + 1);
  cell.setAttribute("aria-setsize", state.total ?? -1);
  link.href = pageOf(`/picture/${item.id}`);
  link.dataset.at = at;
  frame.className = "frame";
  const image = new Image();
  image.alt = item.alt || `Picture by ${item.author}`;
  image.loading = "lazy";
  image.decoding = "async";
  image.onload = () => image.classList.add("here");
  image.onerror = () => { image.remove(); frame.classList.add("broken"); };
  image.src = thumb("small", item.id);
  frame.append(image, text("span", "place", n(at + 1)));
  if (item.split === "train") frame.append(Object.assign(text("span", "seen", "seen"), { title: "The model was fitted on this author" }));
  if (item.probability !== null) {      // of being liked, or of its own class
    const bar = text("span", `chance${item.probability < 0.5 ? " low" : ""}`, "");
    bar.style.width = `${100 * item.probability}%`;
    frame.append(bar);
  }
  const line = document.createElement("span");
  line.className = "line";
  const sure = item.class === null ? item.probability : item.certainty;
  const said = sure !== null ? `${Math.round(100 * sure)}\u00a0%` : item.score !== null ? item.score.toFixed(2) : "–";
  const value = text("b", item.class !== null ? (item.said !== null && item.said !== item.class ? "bad-label" : "") : item.label === 1 ? "good-label" : item.label === 0 ? "bad-label" : "", item.class ?? said);
  value.title = item.class === null ? "probability of being liked more than the median" : "class by its label";
  const beside = item.class === null ? (item.likes === null ? "" : `${short(item.likes)} ♥`)
    : item.said === null ? "" : item.said === item.class ? said : `→ ${item.said} ${said}`;
  const right = text("span", "", beside);
  if (item.class === null && item.likes !== null && item.audience) right.append(text("span", "of", ` / ${short(item.audience)}`));
  line.append(value, right);
  link.append(frame, line, text("span", "who", item.author));
  cell.append(link);
  return cell;
}
function text(tag, name, words) { return Object.assign(document.createElement(tag), { className: name, textContent: words }); }
const short = (value) => (value < 10000 ? n(value) : value < 1e6 ? `${Math.round(value / 1000)}k` : `${(value / 1e6).toFixed(1)}M`);
const thumb = (size, id) => address(`/thumbs/${size}/${id}.webp`);

// -- what people do ----------------------------------------------------------------------------

let waits;
function changed() {
  const search = query().toString();
  history.pushState(null, "", search ? `?${search}` : location.pathname);
  begin();
}
form.addEventListener("input", (event) => {
  clearTimeout(waits);
  waits = setTimeout(changed, event.target.tagName === "SELECT" ? 0 : 350);
});
form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
addEventListener("popstate", () => { fill(new URLSearchParams(location.search)); begin(); });
addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);
addEventListener("pagehide", () => sessionStorage.setItem(key(), scrollY));
byId("clear").addEventListener("click", () => {
  for (const field of form.elements) if (field.name && !["sort", "order", "model"].includes(field.name)) field.value = "";
  changed();
});
byId("more").addEventListener("click", () => open_(byId("rest").hidden));
function open_(yes) { byId("rest").hidden = !yes; byId("more").setAttribute("aria-expanded", yes); byId("more").textContent = yes ? "Fewer filters" : "More filters"; }
failed.querySelector("button").addEventListener("click", () => begin({ keep: true }));
grid.addEventListener("keydown", (event) => {
  const at = Number(event.target.closest("a")?.dataset.at);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: state.across, ArrowUp: -state.across, Home: -at, End: length() - 1 - at }[event.key];
  if (!Number.isFinite(at) || step === undefined) return;
  const goal = Math.min(Math.max(at + step, 0), length() - 1);
  event.preventDefault();
  reach(goal);
});
/** Bring a picture into the window, and the focus to it. */
async function reach(goal) {
  const row = Math.floor(goal / state.across), y = grid.getBoundingClientRect().top + scrollY + row * rowHeight();
  if (y < scrollY + 80 || y + rowHeight() > scrollY + innerHeight) scrollTo({ top: y - innerHeight / 3, behavior: "instant" });
  for (let tries = 0; tries < 60; tries++) {
    const link = cells.get(goal)?.querySelector("a");
    if (link) { link.focus({ preventScroll: true }); return; }
    await new Promise((done) => setTimeout(done, 50));
  }
}

// -- all of them -------------------------------------------------------------------------------

const dialog = byId("selection");
/** Who says it: the name that the page Review has asked for; where people log in, that name counts. */
function act(path, params, content) {
  const who = encodeURIComponent(localStorage.getItem("likewise-reviewer") || "analyst");
  const headers = { "Content-Type": "application/json", "X-Reviewer": who };
  return ask(address(path, params), { method: "POST", body: JSON.stringify(content), headers });
}
byId("all").addEventListener("click", () => {
  const words = [...query()].filter(([k]) => !["sort", "order", "model", "study"].includes(k)).map(([k, v]) => `${k.replace("_", " ")} ${v}`);
  byId("selection-words").textContent = `${n(state.total)} pictures: ${words.join(", ") || "no filter, so the whole study"}. What you do is done to all of them, also to those you have not scrolled to.`;
  byId("selection-said").textContent = "";
  for (const [id, form_] of [["export-csv", "csv"], ["export-json", "ndjson"]]) {
    const params = query();
    params.set("form", form_);
    byId(id).href = address("/api/v1/rankings/export", params);
  }
  dialog.showModal();
});
byId("selection-close").addEventListener("click", () => dialog.close());
byId("bulk")?.addEventListener("click", async () => {
  const said = byId("selection-said");
  byId("bulk").disabled = true;
  try {
    const answer = await act("/api/v1/reviews/bulk", query(), { label: byId("bulk-label").value, reason: byId("bulk-reason").value, count: state.total });
    const left = state.total - answer.count, why = answer.reviewed_meanwhile ? `, ${n(answer.reviewed_meanwhile)} of them reviewed by others meanwhile` : "";
    said.textContent = `${n(answer.count)} pictures labelled${left ? `; ${n(left)} were left alone: without a label${why}` : ""}.`;
    byId("bulk-undo").hidden = false;
    byId("bulk-undo").onclick = async () => {
      try {
        const undone = await act("/api/v1/reviews/bulk/undo", {}, { batch: answer.batch });
        said.textContent = `${n(undone.count)} labels taken back.`;
        byId("bulk-undo").hidden = true;
      } catch (error) { said.textContent = `Not taken back: ${error.detail || error.title}`; }
    };
  } catch (error) { said.textContent = `${error.detail || error.title}`; } finally { byId("bulk").disabled = false; }
});

history.scrollRestoration = "manual";
fill(new URLSearchParams(location.search));
if ([...form.querySelectorAll("#rest [name]")].some((field) => field.value)) open_(true);
begin({ keep: true });
