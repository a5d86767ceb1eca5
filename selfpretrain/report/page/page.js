"use strict";
// The page's filters, matrices and copy buttons, and when its charts are drawn. Without it the tables tell the same, of
// a training's curves their ends alone.

// filters: what is chosen stands in the fragment, after the section, as #scores&model=a,b

const isChosen = (key, value) => {
  const name = key === "task" ? getCard(value) : value;
  return chosen[key].has(name) || !names[key].includes(name);
};
const isAny = (key, values) => !values.length || values.some((value) => isChosen(key, value));

const isShown = (each) => isChosen("model", each.model) && isAny("condition", each.conditions ?? [each.condition]) && isAny("task", each.tasks ?? []);

function readFragment() {
  const parts = location.hash.slice(1).split("&");
  const section = parts[0].includes("=") ? "" : parts.shift();
  const given = new Map(parts.map((part) => part.split("=")).filter(([key, value]) => key && value !== undefined));
  for (const key of KEYS) {
    const values = given.has(key) ? given.get(key).split(",").map(decodeSafely) : names[key];
    chosen[key] = new Set(values.filter((value) => names[key].includes(value)));
  }
  return section;
}

function decodeSafely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function writeFragment(section) {
  const parts = KEYS.filter((key) => chosen[key].size < names[key].length)
    .map((key) => `${key}=${[...chosen[key]].map(encodeURIComponent).join(",")}`);
  history.replaceState(null, "", `#${[section, ...parts].join("&")}`);
}

const getSection = () => location.hash.slice(1).split("&")[0].replace(/.*=.*/, "");

function goTo(section) {
  const target = document.getElementById(section);
  if (!target) return;
  target.scrollIntoView();
  target.focus({ preventScroll: true });
}

function applyFilters() {
  for (const element of document.querySelectorAll("main :is([data-m], [data-t], [data-c])")) { // places in names
    const hides = KEYS.some((key) => {
      const places = element.dataset[key[0]];
      return places !== undefined && !places.split(" ").some((place) => chosen[key].has(names[key][place]));
    });
    element.toggleAttribute("data-hidden", hides);
  }
  for (const fieldset of document.querySelectorAll("[data-filter]")) {
    const key = fieldset.dataset.filter;
    for (const box of fieldset.querySelectorAll("input")) box.checked = chosen[key].has(box.value);
    const [all, some] = [names[key].length, chosen[key].size];
    document.querySelector(`output[data-of=${key}]`).textContent = some === all ? `all ${all}` : `${some} of ${all}`;
  }
  for (const figure of document.querySelectorAll(".chart")) figure.redraw?.();
  document.querySelectorAll(".matrix table").forEach(setFirstStop);
}

function startFilters() {
  const form = document.querySelector(".filters");
  if (!form) return;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  const change = () => {
    writeFragment(getSection());
    applyFilters();
    form.querySelector(".told").textContent = KEYS.filter((key) => chosen[key].size < names[key].length)
      .map((key) => `${key}: ${[...chosen[key]].join(", ") || "none"}`).join("; ");
  };
  for (const fieldset of form.querySelectorAll("[data-filter]")) {
    const key = fieldset.dataset.filter;
    fieldset.addEventListener("change", () => {
      chosen[key] = new Set([...fieldset.querySelectorAll("input:checked")].map((box) => box.value));
      change();
    });
    fieldset.addEventListener("click", ({ target }) => {
      if (!target.dataset.set) return;
      chosen[key] = new Set(target.dataset.set === "all" ? names[key] : []);
      change();
    });
  }
}

// charts: drawn when they come near the window, anew when filters or the width change

function startChart(figure) {
  const chart = charts[figure.dataset.chart], place = figure.querySelector(".panels");
  let isSeen = false;
  const draw = () => {
    const panels = chart.panels.filter((panel) => (!panel.model || isChosen("model", panel.model)) && (!panel.task || isChosen("task", panel.task))
      && [...(panel.rows ?? []), ...(panel.lines ?? [])].some(isShown));
    const places = panels.map(() => make("div", { class: "panel" }));
    place.replaceChildren(...places);
    const drawn = panels.map((panel, index) => drawPanel(places[index], panel, chart, titles[figure.dataset.chart]));
    writeLegend(figure.querySelector(".legend"), drawn);
    if (!panels.length) place.replaceChildren(make("p", { class: "note" }, "Nothing of this is chosen by the filters."));
  };
  figure.redraw = () => isSeen && draw();
  figure.show = () => {
    if (isSeen) return;
    isSeen = true;
    draw();
  };
  let width = 0;
  new ResizeObserver(() => {
    if (!place.clientWidth || width === place.clientWidth) return;
    if (width) figure.redraw();
    width = place.clientWidth;
  }).observe(place);
}

function startCharts() {
  const figures = [...document.querySelectorAll(".chart")];
  figures.forEach(startChart);
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.show();
  }, { rootMargin: "400px" });
  figures.forEach((figure) => seen.observe(figure));
  addEventListener("beforeprint", () => {
    figures.forEach((figure) => figure.show());
    document.querySelectorAll("main details:not(.long)").forEach((details) => { details.open = true; });
  });
}

// matrices: one stop for Tab, arrow keys from cell to cell, and each cell's words below

const listCells = (table) => [...table.tBodies[0].rows].filter((row) => !row.hasAttribute("data-hidden"))
  .map((row) => [...row.querySelectorAll("td:not([data-hidden])")]);

function setFirstStop(table) {
  table.querySelectorAll("td").forEach((cell) => cell.setAttribute("tabindex", "-1"));
  listCells(table)[0]?.[0]?.setAttribute("tabindex", "0");
}

function startMatrix(figure) {
  const table = figure.querySelector("table"), told = figure.querySelector(".cell");
  const tell = (cell) => { if (cell?.dataset.words) told.textContent = cell.dataset.words; };
  table.addEventListener("pointerover", (event) => tell(event.target.closest("td")));
  table.addEventListener("focusin", (event) => tell(event.target.closest("td")));
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td"), cells = listCells(table);
    const row = cells.findIndex((each) => each.includes(cell));
    if (row < 0) return;
    const column = cells[row].indexOf(cell), last = cells[row].length - 1;
    const to = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? cells.length - 1 : row, last] }[event.key];
    const next = to && cells[to[0]]?.[to[1]];
    if (to) event.preventDefault();
    if (!next) return;
    cell.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

function startCopying() {
  for (const button of document.querySelectorAll(".copy button")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch { // a browser that gives a file no clipboard: selected, it is one key away
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
    });
  }
}

readFragment();
startFilters();
startCharts();
document.querySelectorAll(".matrix").forEach(startMatrix);
startCopying();
applyFilters();
if (getSection()) goTo(getSection());
document.querySelectorAll("nav a, .skip").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  const section = link.hash.slice(1);
  writeFragment(section);
  goTo(section);
}));
addEventListener("hashchange", () => {
  const section = readFragment();
  applyFilters();
  if (section) goTo(section);
});
