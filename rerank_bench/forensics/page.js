"use strict";
const list = document.getElementById("queries");
const queries = Array.from(list.children);
const byId = (id) => document.getElementById(id);
const state = { isReversed: false };
const keys = {
  delta: (query) => Number(query.dataset.d),
  after: (query) => Number(query.dataset.a),
  before: (query) => Number(query.dataset.b),
};

function matches(query, words, dataset, change) {
  const delta = Number(query.dataset.d);
  const kind = delta > 0 ? "up" : delta < 0 ? "down" : "same";
  if ((dataset && query.dataset.s !== dataset) || (change && kind !== change)) return false;
  const text = query.textContent.toLowerCase();
  return words.every((word) => text.includes(word));
}

function update() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const dataset = byId("dataset") ? byId("dataset").value : "";
  const change = byId("change").value;
  const name = (query) => query.querySelector("i").textContent;
  const key = keys[byId("sort").value];
  const order = queries.slice().sort((a, b) => (key ? key(a) - key(b) : 0) || name(a).localeCompare(name(b)));
  if (state.isReversed) order.reverse();
  let shown = 0;
  for (const query of order) {
    query.hidden = !matches(query, words, dataset, change);
    shown += query.hidden ? 0 : 1;
  }
  list.append(...order);
  byId("count").textContent = `${shown} of ${queries.length}`;
}

for (const id of ["find", "dataset", "change", "sort"]) {
  const control = byId(id);
  if (control) control.addEventListener("input", update);
}
byId("reverse").addEventListener("click", () => {
  state.isReversed = !state.isReversed;
  update();
});
byId("open").addEventListener("click", () => {
  const visible = queries.filter((query) => !query.hidden);
  const isOpening = visible.some((query) => !query.open);
  for (const query of visible) query.open = isOpening;
  byId("open").textContent = isOpening ? "close all" : "open all";
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
update();
