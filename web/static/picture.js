// Faces, heat, what is alike, and forgetting a person.
import { address, ask, pageOf } from "./base.js";

const byId = (id) => document.getElementById(id);
const id = document.querySelector(".picture").dataset.id;
const json = { "Content-Type": "application/json" };

const large = byId("large"), stage = large.parentElement;
const broken = () => { stage.classList.add("broken"); stage.textContent = "This picture cannot be shown."; };
large.addEventListener("error", broken);
if (large.complete && !large.naturalWidth) broken();

byId("show-faces")?.addEventListener("click", (event) => {
  const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", on);
  byId("faces").toggleAttribute("hidden", !on);
});

const heat = byId("heat"), said = byId("heat-said"), buttons = document.querySelectorAll("button.heat");
for (const button of buttons) button.addEventListener("click", () => paint(button));
byId("heat-model")?.addEventListener("change", () => { const on = [...buttons].find((b) => b.getAttribute("aria-pressed") === "true"); if (on) paint(on, true); });
async function paint(button, again = false) {
  const off = button.getAttribute("aria-pressed") === "true" && !again;
  for (const one of buttons) one.setAttribute("aria-pressed", one === button && !off);
  heat.hidden = true;
  said.textContent = "";
  if (off) return;
  said.textContent = "The network is asked; the first time takes some seconds …";
  try {
    const response = await fetch(address(`/heat/${id}.webp`, { model: byId("heat-model").value, towards: button.dataset.towards }), { headers: { Accept: "image/webp" } });
    if (!response.ok) throw await response.json();
    URL.revokeObjectURL(heat.src);
    heat.src = URL.createObjectURL(await response.blob());
    await heat.decode();
    heat.hidden = false;
    said.textContent = `Warm: what raises the score${button.dataset.towards === "liked" ? "" : " when turned round, so what lowers it"}. A heat map shows where a network looks, not why people liked it.`;
  } catch (error) {
    button.setAttribute("aria-pressed", false);
    said.textContent = `No heat map: ${error.detail ?? error.message}`;
  }
}

async function neighbours() {
  const list = byId("neighbours"), words = byId("neighbours-said");
  try {
    const found = await ask(address(`/api/v1/pictures/${id}/neighbours`, { k: 12 }));
    list.append(...found.items.map(({ similarity, picture }) => {
      const item = document.createElement("li"), link = document.createElement("a"), line = document.createElement("span");
      link.href = pageOf(`/picture/${picture.id}`);
      const image = Object.assign(new Image(), { alt: picture.alt || `Picture by ${picture.author}`, loading: "lazy", src: address(`/thumbs/small/${picture.id}.webp`) });
      image.onerror = () => image.replaceWith(Object.assign(document.createElement("div"), { className: "no", textContent: "no picture" }));
      const label = picture.class ?? (picture.label === 1 ? "liked more" : picture.label === 0 ? "liked less" : "");
      line.append(Object.assign(document.createElement("b"), { textContent: label, className: picture.class ? "" : picture.label === 1 ? "good" : "bad" }), similarity.toFixed(2));
      link.append(image, line);
      item.append(link);
      return item;
    }));
    words.hidden = found.items.length > 0;
    words.textContent = "There is no other picture with features.";
  } catch (error) { words.textContent = error.detail || error.title; }
  list.setAttribute("aria-busy", "false");
}
neighbours();

const back = document.querySelector("[data-back]");
if (document.referrer.startsWith(`${location.origin}/gallery`)) back.href = document.referrer;

const dialog = byId("forgetting");
if (dialog) {
  const { author, host, platform } = dialog.dataset, body = (more) => JSON.stringify({ platform, host, author_id: author, ...more });
  byId("forget").addEventListener("click", async () => {
    dialog.showModal();
    try {
      const { rows } = await ask(address("/api/v1/forget"), { method: "POST", headers: json, body: body({ dry_run: true }) });
      const all = Object.values(rows).reduce((a, b) => a + b, 0);
      byId("forget-words").textContent = `${all.toLocaleString("en")} rows would be deleted:`;
      byId("forget-rows").replaceChildren(...Object.entries(rows).filter(([, n]) => n).map(([table, n]) => {
        const line = document.createElement("div");
        line.append(Object.assign(document.createElement("dt"), { textContent: table }), Object.assign(document.createElement("dd"), { textContent: n.toLocaleString("en") }));
        return line;
      }));
    } catch (error) { byId("forget-words").textContent = error.detail || error.title; }
  });
  byId("forget-name").addEventListener("input", (event) => { byId("forget-do").disabled = event.target.value.trim() !== author; });
  byId("forget-close").addEventListener("click", () => dialog.close());
  byId("forget-do").addEventListener("click", async (event) => {
    event.currentTarget.disabled = true;
    byId("forget-words").textContent = "Deleting …";
    try {
      await ask(address("/api/v1/forget"), { method: "POST", headers: json, body: body({ dry_run: false, confirm: byId("forget-name").value.trim() }) });
      location.assign(back.href);
    } catch (error) { byId("forget-words").textContent = [error.detail || error.title, error.hint].filter(Boolean).join(" – "); }
  });
}

