// Asks for the map and waits until it has been drawn.
import { address, ask } from "./base.js";

const button = document.getElementById("draw"), said = document.getElementById("map-said");
async function draw() {
  button.hidden = true;
  for (;;) {
    try {
      const { state, detail } = await ask(address("/map"), { method: "POST" });
      if (state === "ready") { location.reload(); return; }
      if (state === "failed") throw { detail };
      said.textContent = "Drawing …";
    } catch (error) {
      said.textContent = `It could not be drawn: ${error.detail || error.title}`;
      button.hidden = false;
      return;
    }
    await new Promise((done) => setTimeout(done, 1500));
  }
}
button.addEventListener("click", draw);
if (button.hidden) draw();
