// What is at work, as it happens: server-sent events, which the browser reconnects by itself.
import { address } from "./base.js";

const live = document.getElementById("live"), box = document.getElementById("running"), log = document.getElementById("log");
const make = (tag, words, name = "") => Object.assign(document.createElement(tag), { textContent: words, className: name });
const source = new EventSource(address("/api/v1/runs/events"));
source.onopen = () => { live.textContent = "live"; };
source.onerror = () => { live.textContent = "not connected; trying again"; };
source.addEventListener("state", (event) => {
  const state = JSON.parse(event.data), run = state.running;
  if (run) {
    const words = make("p", "");
    words.append(make("b", run.command), `${run.stage ? `, stage ${run.stage},` : ""} at work since ${run.since.slice(0, 19).replace("T", " ")} UTC, process ${run.pid}.`);
    const list = make("dl", "", "pairs buckets");
    for (const [table, n] of Object.entries(run.buckets)) {
      const line = make("div", "");
      line.append(make("dt", table), make("dd", `${n} ${n === 1 ? "bucket" : "buckets"} done`));
      list.append(line);
    }
    box.replaceChildren(words, list);
  } else box.replaceChildren(make("p", "Nothing is at work on this study.", "quiet"));
  log.replaceChildren(...state.log.toReversed().map((line) => {
    const row = make("tr", "", line.level), when = make("td", "", "nowrap");
    when.append(make("time", line.time.slice(0, 19).replace("T", " ")));
    row.append(when, make("td", line.level), make("td", line.message));
    return row;
  }));
});
addEventListener("pagehide", () => source.close());
