// Trying pictures: dropped, pasted, chosen or fetched; answers item by item, errors beside their picture.
import { ask, address } from "./base.js";

const byId = (id) => document.getElementById(id);
const sheet = byId("answers"), drop = byId("drop"), status = byId("status");
const MOST = Number(sheet.dataset.most), BYTES = Number(sheet.dataset.bytes);
const percent = (value) => `${Math.round(value * 100)}%`;
const WORDS = {
  too_large: "It is too large.", empty: "The file is empty.", truncated: "The file ends too early.", corrupt: "The file is damaged.",
  not_a_picture: "This is no picture.", html: "This is a web page, no picture.", unsupported_format: "This format is not read.", too_many_pixels: "It has too many pixels.",
  too_costly: "It would take too much memory or time.", animated: "Moving pictures are not scored.", decoder_crashed: "It could not be decoded.", decode_timeout: "Decoding it took too long.",
  refused_address: "That address is inside a private network.", refused_scheme: "Only http and https addresses are fetched.",
};
let last = null;

function element(name, className, words) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (words !== undefined) made.textContent = words;
  return made;
}

function waiting(name, file) {
  const item = element("li", "waiting");
  const image = element("img", "shown");
  image.alt = "";
  if (file) { image.src = URL.createObjectURL(file); image.addEventListener("error", () => image.remove()); item.append(image); }
  item.append(element("h2", "", name), element("p", "quiet", "Looking …"));
  return item;
}

function scale(opinion, base, author) {
  const box = element("div", "scale");
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `Probability ${percent(opinion.probability)}${opinion.low === null ? "" : `, 95% interval ${percent(opinion.low)} to ${percent(opinion.high)}`}; of the study's pictures ${percent(base)} are liked.`);
  box.append(element("span", "line"));
  if (opinion.low !== null) {
    const span = element("span", "span");
    span.style.left = `${opinion.low * 100}%`;
    span.style.width = `${(opinion.high - opinion.low) * 100}%`;
    box.append(span);
  }
  const mark = element("span", `base${base > 0.6 ? " right" : ""}`);
  mark.style.left = `${base * 100}%`;
  mark.dataset.words = `of all, ${percent(base)} are liked`;
  box.append(mark);
  if (author) {
    const theirs = element("span", "author");
    theirs.style.left = `${author.share * 100}%`;
    box.append(theirs);
  }
  const dot = element("span", "dot");
  dot.style.left = `${opinion.probability * 100}%`;
  box.append(dot);
  return box;
}

function neighbours(title, list) {
  const box = element("div");
  box.append(element("h3", "", title));
  const row = element("div");
  for (const one of list) {
    const link = element("a");
    link.href = address(`/picture/${one.picture_id}`);
    link.title = `distance ${one.distance.toFixed(2)}`;
    const image = element("img");
    image.src = address(`/thumbs/small/${one.picture_id}.webp`);
    image.alt = `${title}, distance ${one.distance.toFixed(2)}`;
    image.loading = "lazy";
    link.append(image);
    row.append(link);
  }
  if (!list.length) row.append(element("span", "quiet", "none"));
  box.append(row);
  return box;
}

function fill(item, answer, base) {
  item.classList.remove("waiting");
  item.querySelector("p")?.remove();
  if (answer.error) {
    item.append(element("p", "wrong", WORDS[answer.error] || `No answer: ${answer.error.replaceAll("_", " ")}.`));
    return;
  }
  if (answer.abstained) item.append(element("p", "abstained", `No answer: nothing in the study is like it (distance ${answer.distance.toFixed(2)}, and 99% of the study’s pictures have one within ${answer.limit.toFixed(2)}).`));
  else for (const opinion of answer.opinions) {
    if (answer.opinions.length > 1) item.append(element("p", "small quiet", opinion.model));
    if (opinion.probability === null) { item.append(element("p", "", `Score ${opinion.score.toFixed(2)}; the model’s probabilities cannot be trusted, so none is given.`)); continue; }
    const words = element("p", "chance", percent(opinion.probability));
    words.append(" ", element("small", "", opinion.low === null ? "likely to be liked; too few authors for an interval" : `likely to be liked; 95% interval ${percent(opinion.low)} to ${percent(opinion.high)}`));
    item.append(words, scale(opinion, base, answer.author));
  }
  const a = answer.author;
  if (a) item.append(element("p", "small", `◆ ${a.author}: ${a.liked} of ${a.pictures} pictures liked, ${percent(a.share)} (${percent(a.low)} to ${percent(a.high)}).`));
  if (answer.stands_out.length) {
    const list = element("ul", "outs");
    list.append(...answer.stands_out.map((one) => element("li", "", one)));
    item.append(list);
  }
  const near = element("div", "near");
  near.append(neighbours("nearest liked", answer.liked), neighbours("nearest not liked", answer.unliked));
  item.append(near);
}

async function send(make, items, count) {
  last = null;
  sheet.prepend(...items);
  byId("failed").hidden = true;
  status.textContent = `Looking at ${count === 1 ? "one picture" : `${count} pictures`} …`;
  for (let attempt = 0; ; attempt += 1) {
    try {
      const found = await ask(address("/api/v1/score"), make());
      found.items.forEach((answer, place) => fill(items[place], answer, found.base_rate));
      status.textContent = `${count === 1 ? "One answer" : `${count} answers`}${found.models.length ? ` by ${found.models.join(", ")}` : ""}.`;
      return;
    } catch (error) {
      if (error.status === 503 && attempt < 20) {
        status.textContent = `${error.detail || "The server is busy"}; asking again …`;
        await new Promise((done) => setTimeout(done, 1000 * Math.min(Number(error.retry) || 2, 10)));
        continue;
      }
      for (const item of items) item.remove();
      status.textContent = "";
      byId("failed").hidden = false;
      byId("failed").firstElementChild.textContent = `${error.detail || error.title} ${error.hint || ""}`;
      last = () => again(make, count);
      return;
    }
  }
}
const again = (make, count) => send(make, Array.from({ length: count }, (_, place) => waiting(`picture ${place + 1}`)), count);

function pictures(list) {
  const files = [...list].filter((file) => file.size !== undefined);
  if (!files.length) return;
  const chosen = files.slice(0, MOST);
  if (files.length > MOST) { byId("failed").hidden = false; byId("failed").firstElementChild.textContent = `${files.length} pictures were given; the first ${MOST} are looked at.`; last = null; }
  const items = chosen.map((file) => waiting(file.name || "pasted picture", file)), good = [], places = [];
  chosen.forEach((file, place) => {
    if (file.size > BYTES || !file.size) sheet.prepend(items[place]);
    if (file.size > BYTES) fill(items[place], { error: "too_large" }, 0);
    else if (!file.size) fill(items[place], { error: "empty" }, 0);
    else { good.push(file); places.push(items[place]); }
  });
  if (!good.length) return;
  send(() => {
    const body = new FormData();
    for (const file of good) body.append("files", file, file.name || "pasted.png");
    if (byId("model").value) body.append("models", byId("model").value);
    if (byId("author").value.trim()) body.append("author", byId("author").value.trim());
    return { method: "POST", body };
  }, places, good.length);
}

byId("files").addEventListener("change", (event) => { pictures(event.target.files); event.target.value = ""; });
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
document.addEventListener("drop", (event) => pictures(event.dataTransfer.files));
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) pictures(event.clipboardData.files); });
drop.addEventListener("submit", (event) => event.preventDefault());
byId("failed").lastElementChild.addEventListener("click", () => { if (last) last(); else byId("failed").hidden = true; });
function look() {
  const url = byId("url").value.trim();
  if (!url) return;
  send(() => ({
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ urls: [url], models: byId("model").value ? [byId("model").value] : [], author: byId("author").value.trim() || null }),
  }), [waiting(url)], 1);
}
byId("fetch").addEventListener("click", look);
byId("url").addEventListener("keydown", (event) => { if (event.key === "Enter") look(); });
