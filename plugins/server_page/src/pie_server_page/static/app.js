// The page: which view is shown, the connection, the key.

import { Connection } from "./connection.js";
import { byId, setText } from "./dom.js";
import { keepKey, key } from "./http.js";
import { LiveMap } from "./map.js";
import { Playground } from "./playground.js";

const connection = new Connection((text, well) => {
  setText(byId("status"), text);
  byId("status").classList.toggle("wrong", !well);
  if (well) {
    playground.load();
    map.restart();
  }
});
const playground = new Playground(connection);
const map = new LiveMap(connection);

function show() {
  const view = location.hash === "#map" ? "map" : "playground";
  for (const id of ["playground", "map"]) byId(id).hidden = id !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  map.show(view === "map");
}

byId("key").value = key();
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(byId("key").value.trim());
  connection.connect();
});
window.addEventListener("hashchange", show);
show();
connection.connect();
