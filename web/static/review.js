// Reviewing: a short queue of pictures, answers that are kept here until the server has stored them.
import { ask, address, study } from "./base.js";

const byId = (id) => document.getElementById(id);
const KEY = `likewise-unsent:${study}`;
const NAME = "likewise-reviewer";
const RETRY = 5000;
const AHEAD = 4;
const named = byId("reviewer");
if (named) named.value = localStorage.getItem(NAME) || "analyst";

const state = { items: [], done: new Set(), labels: [], asking: false, round: 0, left: 0, preparing: false, whyNot: null };
let unsent = JSON.parse(localStorage.getItem(KEY) || "[]");
let sending = false;

const settings = () => ({ mode: byId("mode").value, blind: byId("blind").checked, double: byId("double").checked });
const headers = () => ({ "Content-Type": "application/json", ...(named ? { "X-Reviewer": encodeURIComponent(named.value.trim() || "analyst") } : {}) });
const post = (path, body) => ask(address(`/api/v1/reviews${path}`), { method: "POST", headers: headers(), body: JSON.stringify(body) });
const LIKES = byId("desk").dataset.likes !== undefined;
const word = (label) => (LIKES ? { good: "liked more", bad: "liked less" }[label] ?? label : label);
const n = (value) => value.toLocaleString("en");

function say(words) {
  byId("said").hidden = !words;
  byId("said").firstElementChild.textContent = words || "";
}

// -- what to look at ---------------------------------------------------------------------------

async function fetchNext() {
  if (state.asking) return;
  state.asking = true;
  const round = state.round;
  try {
    const answer = await post("/next", { ...settings(), n: AHEAD + state.items.length + unsent.length });
    if (round !== state.round) return;
    state.labels = answer.labels;
    state.left = answer.left;
    state.preparing = answer.preparing;
    state.whyNot = answer.why_not;
    const known = new Set([...state.items.map((one) => one.picture_id), ...unsent.map((one) => one.picture_id)]);
    state.items.push(...answer.items.filter((one) => !known.has(one.picture_id) && !state.done.has(`${one.picture_id}:${one.version}`)));
    for (const one of state.items.slice(1, 3)) new Image().src = source(one);
    show();
  } catch (error) {
    if (round === state.round && !state.items.length) nothing("The next picture cannot be fetched", `${error.detail || error.title} ${error.hint || ""}`);
  } finally {
    state.asking = false;
    if (round !== state.round) fetchNext();
  }
}

const source = (item) => address(`/thumbs/large/${item.picture_id}.webp`);

function nothing(title, words) {
  byId("desk").hidden = true;
  byId("none").hidden = false;
  byId("none").querySelector("h2").textContent = title;
  byId("none").querySelector("p").textContent = words;
}

function show() {
  const item = state.items[0];
  if (!item) {
    if (state.preparing && ["contradiction", "margin"].includes(settings().mode)) {
      nothing("The model is forming its opinion", "This takes a moment, on large studies some minutes. The random queue needs no model.");
      setTimeout(() => { if (!state.items.length) fetchNext(); }, 2000);
    } else if (state.whyNot && settings().mode !== "random" && settings().mode !== "conflicts") nothing("This queue is not there", `${state.whyNot}. The random queue needs no model.`);
    else nothing(settings().mode === "conflicts" ? "No conflicts" : "This queue is empty", settings().mode === "conflicts" ? "Wherever two reviewers answered, they agree or somebody has settled it." : "Everything in it has been reviewed, skipped by you, or is before somebody else just now.");
    return;
  }
  byId("none").hidden = true;
  byId("desk").hidden = false;
  const image = byId("picture");
  image.parentElement.classList.remove("broken");
  if (image.dataset.id !== item.picture_id) { image.src = source(item); image.dataset.id = item.picture_id; }
  const blind = item.label === null;
  byId("belief").hidden = blind;
  if (!blind) {
    byId("label").textContent = word(item.label);
    const share = item.belief === null ? null : Math.round(item.belief * 100);
    byId("rather").textContent = share === null ? "No model has judged it." : item.rather === item.label ? `The model agrees: ${share}%.` : `The model gives that ${share}% and says rather ${word(item.rather)}.`;
    byId("bar").parentElement.hidden = share === null;
    byId("bar").parentElement.classList.toggle("low", share !== null && share < 50);
    byId("bar").style.transform = `scaleX(${(share ?? 0) / 100})`;
  }
  byId("caption").textContent = [item.copies > 1 ? `${item.copies} near copies: this one stands for them.` : "", state.left ? `${n(state.left)} left in this queue.` : ""].filter(Boolean).join(" ");
  byId("others").replaceChildren(...item.others.filter((one) => one.action !== "skip").map((one) => {
    const line = document.createElement("li");
    line.textContent = `${one.reviewer} ${one.action === "reject" ? "rejected it" : `says ${word(one.new_label)}`}${one.reason ? `: ${one.reason}` : ""}`;
    return line;
  }));
  const answers = byId("answers");
  answers.classList.toggle("many", state.labels.length > 5);
  answers.replaceChildren(...state.labels.map((label, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = label === item.label ? "given" : "";
    const words = document.createElement("span");
    words.textContent = label === item.label ? `${word(label)} is right` : word(label);
    button.append(words);
    const hint = document.createElement("kbd");
    hint.textContent = label === item.label ? "a" : `${place + 1}`;
    if (label === item.label || place < 9) button.append(hint);
    button.addEventListener("click", () => answer("label", label));
    return button;
  }));
}
// A server that has just started, or is busy, has no thumbnail yet: it is asked again, ever more rarely.
let tries = 0;
byId("picture").addEventListener("error", (event) => {
  const image = event.target, { id } = image.dataset;
  image.parentElement.classList.add("broken");
  tries = image.dataset.tried === id ? tries + 1 : 1;
  image.dataset.tried = id;
  if (tries > 8) return;
  setTimeout(() => { if (image.dataset.id === id) image.src = source({ picture_id: id }); }, Math.min(500 * tries, 5000));
});
byId("picture").addEventListener("load", (event) => event.target.parentElement.classList.remove("broken"));

/** crypto.randomUUID is missing where a page comes over plain http from another machine. */
const freshKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// -- answers -----------------------------------------------------------------------------------

function answer(verdict, label = null) {
  const item = state.items.shift();
  if (!item) return;
  const { mode, blind, double } = settings();
  const line = {
    picture_id: item.picture_id, verdict, label, seen: item.version, mode, reason: byId("reason").value.trim() || null,
    independent: (blind || double) && mode !== "conflicts", key: freshKey(),
  };
  byId("reason").value = "";
  state.done.add(`${item.picture_id}:${item.version}`);
  unsent.push({ ...line, item });
  keep();
  say("");
  show();
  if (state.items.length < AHEAD) fetchNext();
  send();
}

function keep() {
  try { localStorage.setItem(KEY, JSON.stringify(unsent)); } catch { /* a full store: they are still here */ }
}

async function send() {
  if (sending) return;
  sending = true;
  try {
    while (unsent.length) {
      const { item, ...line } = unsent[0];
      try {
        await post("", line);
      } catch (error) {
        if ([0, 429, 500, 502, 503, 504].includes(error.status)) {
          byId("unsent").hidden = false;
          byId("unsent").firstElementChild.textContent = `${unsent.length === 1 ? "One review waits" : `${n(unsent.length)} reviews wait`} in this browser: ${error.detail || error.title} ${unsent.length === 1 ? "It is" : "They are"} sent again by ${unsent.length === 1 ? "itself" : "themselves"}.`;
          setTimeout(send, RETRY);
          return;
        }
        say(error.status === 409 ? "Somebody reviewed that picture meanwhile; your answer was not taken. Look at it again under conflicts, or in the gallery." : `That answer was not taken: ${error.detail || error.title}`);
      }
      unsent.shift();
      keep();
    }
    byId("unsent").hidden = true;
    sum();
  } finally { sending = false; }
}

async function undo() {
  let back = null;
  if (unsent.length && !sending) {
    back = unsent.pop().item;
    keep();
  } else {
    try {
      const answered = await post("/undo", {});
      if (!answered.count) return say("There is nothing left to undo.");
      say(answered.count === 1 ? "Taken back: here it is again." : `${n(answered.count)} reviews of one act were taken back.`);
    } catch (error) { return say(`It cannot be undone now: ${error.detail || error.title}`); }
  }
  state.done.clear();
  state.round += 1;
  state.items = back ? [back] : [];
  byId("unsent").hidden = !unsent.length;
  await fetchNext();
  sum();
}

// -- where the reviews stand --------------------------------------------------------------------

function fact(name, value) {
  const box = document.createElement("div"), title = document.createElement("dt"), text = document.createElement("dd");
  title.textContent = name;
  text.textContent = value;
  box.append(title, text);
  return box;
}

async function sum() {
  try {
    const found = await ask(address("/api/v1/reviews/summary"), { headers: headers() });
    byId("facts").replaceChildren(fact("reviewed", n(found.reviewed)), fact("accepted", n(found.accepted)), fact("corrected", n(found.corrected)), fact("rejected", n(found.rejected)), fact("conflicts", n(found.conflicts.length)), fact("by you", n(found.mine)));
    byId("rate").textContent = `${found.error_rate_words[0].toUpperCase()}${found.error_rate_words.slice(1)}.`;
    byId("kappas").replaceChildren(...found.agreement_words.map((words) => Object.assign(document.createElement("p"), { textContent: `${words}.` })));
  } catch { /* the notice about unsent reviews tells */ }
}

byId("publish").addEventListener("click", async () => {
  byId("publish").disabled = true;
  try { byId("published").textContent = (await post("/publish", {})).words; } catch (error) {
    byId("published").textContent = `Not published: ${error.detail || error.title} ${error.hint || ""}`;
  } finally { byId("publish").disabled = false; }
});

// -- keys and settings ---------------------------------------------------------------------------

function restart() {
  state.round += 1;
  state.items = [];
  state.done.clear();
  fetchNext();
  sum();
}
for (const id of ["mode", "blind", "double"]) byId(id).addEventListener("change", restart);
named?.addEventListener("change", () => { localStorage.setItem(NAME, named.value.trim()); restart(); });
byId("asks").addEventListener("submit", (event) => event.preventDefault());
byId("reject").addEventListener("click", () => answer("reject"));
byId("skip").addEventListener("click", () => answer("skip"));
byId("undo").addEventListener("click", undo);
byId("undo-none").addEventListener("click", undo);
byId("again").addEventListener("click", restart);
byId("unsent").lastElementChild.addEventListener("click", send);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const item = state.items[0], digit = Number.parseInt(event.key, 10);
  if (event.key === "u") undo();
  else if (event.key === "b") { byId("blind").checked = !byId("blind").checked; restart(); }
  else if (!item) return;
  else if (event.key === "a" && item.label !== null) answer("label", item.label);
  else if (event.key === "r") answer("reject");
  else if (event.key === "s") answer("skip");
  else if (digit >= 1 && digit <= state.labels.length) answer("label", state.labels[digit - 1]);
  else return;
  event.preventDefault();
});

restart();
if (unsent.length) send();
