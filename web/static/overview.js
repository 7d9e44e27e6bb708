// What moved between the last two nights: asked for after the page is there.
import { address, ask, pageOf } from "./base.js";

const box = document.getElementById("changes");
const line = (words) => Object.assign(document.createElement("p"), { textContent: words });
const percent = (value) => `${Math.round(100 * value)} %`;
try {
  const found = await ask(address("/api/v1/runs/changes"));
  const parts = found.sentences.map(line);
  for (const [title, rows] of [["Tags", found.tags], ["Pictures", found.pictures]]) {
    if (!rows.length) continue;
    const list = document.createElement("ul");
    for (const one of rows.slice(0, 6)) {
      const item = document.createElement("li"), id = /^[0-9a-f]{64}$/.test(one.name);
      const name = Object.assign(document.createElement("a"), { textContent: id ? `picture ${one.name.slice(0, 8)}` : `#${one.name}` });
      name.href = id ? pageOf(`/picture/${one.name}`) : pageOf("/gallery", { tag: one.name });
      item.append(name, ` is ${one.after > one.before ? "more" : "less"} liked: ${percent(one.before)} → ${percent(one.after)}`);
      list.append(item);
    }
    parts.push(Object.assign(document.createElement("h3"), { textContent: title }), list);
  }
  box.replaceChildren(...(parts.length ? parts : [line("Nothing that can be told from chance.")]));
} catch (error) {
  box.replaceChildren(line(error.detail || error.title || String(error)));
}
