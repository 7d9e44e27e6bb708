// What every page needs: requests that carry the CSRF token, and the news of newer tables.
const meta = (name) => document.querySelector(`meta[name=${name}]`);
export const csrf = meta("csrf").content;
export const snapshot = meta("snapshot")?.content ?? null;
export const study = meta("snapshot")?.dataset.study ?? null;

/** Address below this server, in this study and snapshot. `query` may be a URLSearchParams. */
export function address(path, query = {}) {
  const params = new URLSearchParams(query instanceof URLSearchParams ? query : Object.entries(query).flatMap(
    ([key, value]) => (value === null || value === undefined || value === "" ? [] : Array.isArray(value) ? value.map((v) => [key, v]) : [[key, value]])));
  if (document.getElementById("which-study")) params.set("study", study);
  if (snapshot) params.set("snapshot", snapshot);
  return `${path}?${params}`;
}

/** Address of a page that a reader may keep: their cookie names the snapshot. */
export const pageOf = (path, query) => address(path, query).replace(/[?&]snapshot=[^&]*/, "").replace(/\?$/, "");

/** fetch that answers with JSON, and throws {status, title, detail, hint} otherwise. */
export async function ask(url, options = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf, ...options.headers };
  let response;
  try {
    response = await fetch(url, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw { status: 0, title: "No answer", detail: "The server cannot be reached.", hint: "Is it still running?" };
  }
  if (response.status === 401 && document.visibilityState === "visible") location.assign("/login");
  const body = response.headers.get("content-type")?.includes("json") ? await response.json() : {};
  if (!response.ok) throw { status: response.status, title: response.statusText, detail: "", retry: response.headers.get("retry-after"), ...body };
  return body;
}

for (const element of document.querySelectorAll("[data-submit]"))
  element.addEventListener("change", () => element.form.submit());

// On a narrow screen the pages' names scroll: the one that is open is brought into view.
const here = document.querySelector(".menu [aria-current]"), menu = here?.closest(".menu");
if (menu) menu.scrollLeft = here.offsetLeft - menu.offsetLeft - (menu.clientWidth - here.offsetWidth) / 2;

const again = document.querySelector("[data-reload]");
if (again) setTimeout(() => location.reload(), 1000 * Number(again.dataset.reload));

const news = document.getElementById("news");
if (news && snapshot) {
  const look = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const { newest } = await ask(address("/api/v1/snapshot"));
      news.hidden = newest === snapshot;
    } catch { /* the next look will tell */ }
  };
  setInterval(look, 15000);
  document.addEventListener("visibilitychange", look);
}
