"use strict";
// What the page holds as data, and how each kind of chart is drawn; page.js starts and filters them.

const { charts, names, titles } = JSON.parse(document.getElementById("data").textContent);
const KEYS = ["model", "task", "condition"];
const chosen = Object.fromEntries(KEYS.map((key) => [key, new Set(names[key])]));
const SYMBOLS = ["circle", "square", "diamond", "triangle", "star", "wye", "cross", "hexagon"];
const MOST_SAID = 12; // lines of what a picture is said to show
const INK = "currentColor", SOFT = "var(--soft)";

const getColour = (condition) => {
  const place = names.condition.indexOf(condition);
  return place < 0 ? INK : `var(--c${place})`;
};
const getSymbol = (model) => SYMBOLS[Math.max(0, names.model.indexOf(model)) % SYMBOLS.length];
const getCard = (task) => task.split("@")[0];
const formatScore = (value) => value === null ? "none" : value.toFixed(3).replace(/^(-?)0\./, "$1.");
const formatRange = ([point, low, high]) => `${formatScore(point)} [${formatScore(low)}, ${formatScore(high)}]`;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// a function for each kind of panel

const common = (width, extra) => ({
  width, marginLeft: 44, marginBottom: 34, style: { fontSize: "12px" }, ...extra,
});
const measure = (texts) => Math.min(170, 16 + 6.6 * Math.max(4, ...texts.map((text) => text.length)));
const shorten = (text, width) => text.length * 6.6 + 12 > width ? `${text.slice(0, Math.floor(width / 6.6) - 3)}…` : text;
const tip = (data, options) => Plot.tip(data, Plot.pointer({ fontSize: 12, ...options }));

function drawForest(panel, width) {
  const rows = panel.rows.filter((row) => isChosen("model", row.model) && isChosen("condition", row.condition));
  const conditions = [...new Set(rows.map((row) => row.condition))];
  const models = [...new Set(rows.map((row) => row.model))];
  const shift = (row) => conditions.indexOf(row.condition) + (models.indexOf(row.model) - (models.length - 1) / 2) * .62 / models.length;
  const scored = rows.filter((row) => row.interval).map((row) => ({ ...row, y: shift(row) }));
  const unscored = rows.filter((row) => !row.interval).map((row) => ({ ...row, y: shift(row) }));
  const singles = scored.flatMap((row) => row.singles.map((score) => ({ ...row, score })));
  const values = scored.flatMap((row) => [...row.interval, ...row.singles]);
  const left = Math.min(measure(conditions), width * .42);
  const describe = (row) => `${row.condition}, ${row.model}: ${row.interval ? formatRange(row.interval) : row.state}`;
  const svg = Plot.plot(common(width, {
    height: 46 + conditions.length * (18 + 11 * models.length), marginLeft: left, marginRight: 12, marginTop: 6,
    x: { domain: widen(values, panel.blind), label: `${panel.x} →`, grid: true, ticks: Math.max(3, width / 90), tickFormat: formatTick },
    y: { domain: [conditions.length - .4, -.6] },
    symbol: { type: "identity" },
    marks: [
      Plot.axisY(conditions.map((_, place) => place), { tickFormat: (place) => shorten(conditions[place], left), tickSize: 0, label: null }),
      isNear(panel.blind, values) ? Plot.ruleX([panel.blind], { stroke: INK, strokeDasharray: "4 3", strokeOpacity: .6 }) : null,
      Plot.dot(singles, { x: "score", y: "y", dy: 5, r: 1.8, fill: (row) => getColour(row.condition), fillOpacity: .6 }),
      Plot.ruleY(scored, { x1: (row) => row.interval[1], x2: (row) => row.interval[2], y: "y", stroke: (row) => getColour(row.condition), strokeWidth: 2.2 }),
      Plot.dot(scored, { x: (row) => row.interval[0], y: "y", r: 4.6, symbol: (row) => getSymbol(row.model), fill: (row) => getColour(row.condition), stroke: "var(--page)" }),
      Plot.text(unscored, { frameAnchor: "left", y: "y", dx: 4, text: (row) => row.state + (models.length > 1 ? `, ${row.model}` : ""), fontStyle: "italic", fill: SOFT, stroke: "var(--page)", strokeWidth: 4, textAnchor: "start" }),
      tip(scored, { x: (row) => row.interval[0], y: "y", title: describe }),
    ],
  }));
  const blind = panel.blind === null ? "" : `without reading the text: ${formatScore(panel.blind)}${isNear(panel.blind, values) ? " (dashed)" : ""}`;
  return { heading: panel.task, svg, note: blind, said: rows.map(describe), conditions: [], models };
}

const formatTick = (value) => Math.abs(value) < 1 && value !== 0 ? d3.format("~g")(value).replace(/0\./, ".") : d3.format("~s")(value);
const isNear = (value, values) => {
  if (value === null || !values.length) return false;
  const span = Math.max(.01, d3.max(values) - d3.min(values));
  return value > d3.min(values) - .6 * span && value < d3.max(values) + .6 * span;
};

function widen(values, blind) {
  const every = isNear(blind, values) ? [...values, blind] : values;
  if (!every.length) return [0, 1];
  const [low, high] = [d3.min(every), d3.max(every)];
  const margin = Math.max(.06 * (high - low), (.04 - (high - low)) / 2); // never so narrow that differences of a few examples fill the axis
  return [low - margin, high + margin];
}

// lines of one colour, as those of two own_of:<task>, differ by their dashes; in order, so that a filter changes none
const DASHES = [null, "7 3", "2 3", "9 3 2 3", "4 2"];
const setDashes = (lines) => {
  const seen = new Map();
  return lines.map((line) => {
    const colour = getComputedStyle(document.documentElement).getPropertyValue(getColour(line.condition).slice(4, -1)) || INK;
    const place = seen.get(colour) ?? 0;
    seen.set(colour, place + 1);
    return { ...line, dash: line.is_dashed ? "5 3" : DASHES[place % DASHES.length] };
  });
};
const drawDashed = (points, options) => d3.groups(points, (point) => point.line.dash)
  .map(([dash, group]) => Plot.lineY(group, { ...options, ...(dash ? { strokeDasharray: dash } : {}) }));

function drawLines(panel, width, chart) {
  const lines = setDashes(panel.lines).filter((line) => isChosen("condition", line.condition));
  const points = lines.flatMap((line) => line.points.map(([x, y, low, high]) => ({ line, x, y, low, high, name: line.name ?? line.condition })));
  const stroke = (point) => getColour(point.line.condition);
  const by = { x: "x", z: "name" };
  const rings = points.filter((point) => point.line.ring === point.x);
  const isLog = panel.is_log ?? chart.is_log;
  const svg = Plot.plot(common(width, {
    height: Math.min(280, width * .62), marginLeft: 48, marginTop: 12,
    x: { type: isLog ? "log" : "linear", label: `${panel.x} →`, ticks: Math.max(3, width / 90), tickFormat: "~s" },
    y: { label: `↑ ${panel.y}`, grid: true, tickFormat: formatTick, nice: true },
    marks: [
      panel.zero ? Plot.ruleY([0], { stroke: INK, strokeOpacity: .6 }) : null,
      chart.is_band ? Plot.areaY(points, { ...by, y1: "low", y2: "high", fill: stroke, fillOpacity: .14 })
        : Plot.ruleX(points, { ...by, y1: "low", y2: "high", stroke, strokeWidth: 1.4 }),
      ...drawDashed(points, { ...by, y: "y", stroke, strokeWidth: 1.6 }),
      Plot.dot(points, { x: "x", y: "y", fill: stroke, r: 2.6 }),
      Plot.dot(rings, { x: "x", y: "y", stroke, r: 7, strokeWidth: 1.6 }),
      tip(points, { x: "x", y: "y", title: (p) => `${p.name}\n${panel.x}: ${p.x.toLocaleString("en")}\n${formatRange([p.y, p.low, p.high])}` }),
    ],
  }));
  const last = lines.filter((line) => line.points.length).map((line) => `${line.name ?? line.condition} ends at ${formatRange(line.points.at(-1).slice(1))}`);
  return { heading: `${panel.task}, ${panel.model}`, svg, said: last, conditions: lines.map((line) => [line.condition, line.name ?? line.condition, line.dash]) };
}

function drawCourses(panel, width, chart) {
  const lines = setDashes(panel.lines).filter((line) => isAny("condition", line.conditions) && isAny("task", line.tasks))
    .map((line, index) => ({ ...line, index, steps: chart.axes[line.axis] }));
  const toPoints = (line, values, place) => values.map((y, at) => ({ line, x: line.steps[at], y, z: `${line.index} ${place}` })).filter((point) => point.y !== null);
  const each = lines.filter((line) => line.each).flatMap((line) => line.each.flatMap((values, place) => toPoints(line, values, place)));
  const middle = lines.filter((line) => line.range).flatMap((line) => toPoints(line, line.range[1], "median").map((point, at) => ({ ...point, low: line.range[0][at], high: line.range[2][at] })));
  const stroke = (point) => getColour(point.line.condition);
  const by = { x: "x", z: "z", stroke };
  const describe = (p) => `${p.line.name}, ${p.line.runs} ${p.line.runs === 1 ? "run" : "runs"}\nstep ${p.x.toLocaleString("en")}: ${p.y.toPrecision(4)}` + (p.low === undefined ? "" : ` (${p.low} to ${p.high})`);
  const svg = Plot.plot(common(width, {
    height: Math.min(250, width * .55), marginLeft: 48, marginTop: 12,
    x: { label: `${panel.x} →`, ticks: Math.max(3, width / 90), tickFormat: "~s" },
    y: { label: `↑ ${panel.y}`, grid: true, nice: true, tickFormat: "~g" },
    marks: [
      Plot.areaY(middle, { x: "x", y1: "low", y2: "high", z: "z", fill: stroke, fillOpacity: .16 }),
      ...drawDashed([...each, ...middle], { ...by, y: "y", strokeWidth: 1.3, strokeOpacity: .85 }),
      Plot.dot(lines.some((line) => line.steps.length < 2) ? [...each, ...middle] : [], { x: "x", y: "y", fill: stroke, r: 2.5 }),
      tip([...each, ...middle], { x: "x", y: "y", title: describe }),
    ],
  }));
  const heading = [panel.part, panel.task, panel.model].filter(Boolean).join(", ");
  const ends = lines.map((line) => `${line.name}, ${line.runs} runs up to step ${line.steps.at(-1)}`);
  return { heading, svg, said: ends, conditions: lines.map((line) => [line.condition, line.name, line.dash]) };
}

function drawSeeds(panel, width) {
  const rows = panel.rows.filter((row) => isChosen("condition", row.condition));
  const conditions = [...new Set(rows.map((row) => row.condition))];
  const seeds = [...new Set(rows.map((row) => row.seed))].sort(d3.ascending);
  const left = Math.min(measure(conditions), width * .42);
  const placed = rows.map((row) => ({ ...row, y: conditions.indexOf(row.condition) + (seeds.indexOf(row.seed) - (seeds.length - 1) / 2) * .7 / seeds.length }));
  const means = d3.flatRollup(placed, (group) => d3.mean(group, (row) => row.score), (row) => row.condition, (row) => row.y)
    .map(([condition, y, score]) => ({ condition, y, score }));
  const stroke = (row) => getColour(row.condition);
  const svg = Plot.plot(common(width, {
    height: 46 + conditions.length * Math.max(22, 5 * seeds.length), marginLeft: left, marginTop: 6, marginRight: 12,
    x: { domain: widen(rows.map((row) => row.score), null), label: `${panel.y} →`, grid: true, ticks: Math.max(3, width / 90), tickFormat: formatTick },
    y: { domain: [conditions.length - .4, -.6] },
    marks: [
      Plot.axisY(conditions.map((_, place) => place), { tickFormat: (place) => shorten(conditions[place], left), tickSize: 0, label: null }),
      Plot.dot(placed, { x: "score", y: "y", r: 2.6, fill: stroke, fillOpacity: .75 }),
      Plot.ruleX(means, { x: "score", y1: (row) => row.y - .3 / seeds.length, y2: (row) => row.y + .3 / seeds.length, stroke, strokeWidth: 2 }),
      tip(placed, { x: "score", y: "y", title: (row) => `${row.condition}, seed ${row.seed}\n${formatScore(row.score)}` }),
    ],
  }));
  const said = conditions.map((name) => `${name}: ${d3.extent(rows.filter((row) => row.condition === name), (row) => row.score).map(formatScore).join(" to ")}`);
  return { heading: `${panel.task}, ${panel.model}`, svg, said, conditions: [] };
}

function drawReliability(panel, width) {
  const lines = setDashes(panel.lines).filter((line) => isChosen("condition", line.condition));
  const points = lines.flatMap((line) => line.points.map(([x, y, share]) => ({ line, x, y, share })));
  const stroke = (point) => getColour(point.line.condition);
  const svg = Plot.plot(common(width, {
    height: Math.min(280, width * .7), marginTop: 12,
    x: { domain: [Math.min(.9, ...points.map((point) => point.x)) - .02, 1.02], label: "confidence →", ticks: Math.max(3, width / 90), tickFormat: formatTick },
    y: { domain: [-.03, 1.03], label: "↑ share right", grid: true, tickFormat: formatTick },
    r: { type: "sqrt", domain: [0, 1], range: [1.5, 9] },
    marks: [
      Plot.line([[0, 0], [1, 1]], { stroke: INK, strokeDasharray: "4 3", strokeOpacity: .6, clip: true }),
      ...drawDashed(points, { x: "x", y: "y", z: (point) => point.line.condition, stroke, strokeOpacity: .6 }),
      Plot.dot(points, { x: "x", y: "y", r: "share", fill: stroke, stroke: "var(--page)" }),
      tip(points, { x: "x", y: "y", title: (p) => `${p.line.condition}\nconfidence ${formatScore(p.x)}, right ${formatScore(p.y)}\n${formatScore(p.share)} of the predictions` }),
    ],
  }));
  const said = lines.map((line) => `${line.condition}: ${line.points.map(([x, y]) => `${formatScore(y)} at ${formatScore(x)}`).join(", ")}`);
  return { heading: `${panel.task}, ${panel.model}: ${panel.part}`, svg, said, conditions: lines.map((line) => [line.condition, line.condition, line.dash]) };
}

function drawVariance(panel, width) {
  const rows = panel.rows.filter((row) => isChosen("condition", row.condition));
  const conditions = [...new Set(rows.map((row) => row.condition))];
  const sources = [...new Set(panel.rows.map((row) => row.source))];
  const left = Math.min(measure(conditions), width * .42);
  const placed = rows.map((row) => ({ ...row, y: conditions.indexOf(row.condition) + (sources.indexOf(row.source) - (sources.length - 1) / 2) * .7 / sources.length }));
  const most = 3 * (d3.max(rows, (row) => row.interval[0]) || .01);
  const fill = (row) => getColour(row.condition);
  const beyond = placed.filter((row) => row.interval[2] === null || row.interval[2] > most);
  const describe = (row) => `${formatRange(row.interval)}${row.is_negative ? ", estimated below 0" : ""}`;
  const svg = Plot.plot(common(width, {
    height: 46 + conditions.length * (8 + 13 * sources.length), marginLeft: left, marginTop: 6, marginRight: 12,
    x: { domain: [0, most], label: `${panel.x} →`, grid: true, ticks: Math.max(3, width / 90), tickFormat: formatTick, clamp: true },
    y: { domain: [conditions.length - .4, -.6] },
    symbol: { type: "identity" },
    marks: [
      Plot.axisY(conditions.map((_, place) => place), { tickFormat: (place) => shorten(conditions[place], left), tickSize: 0, label: null }),
      Plot.ruleY(placed, { x1: (row) => row.interval[1], x2: (row) => row.interval[2] ?? most, y: "y", stroke: fill, strokeOpacity: .55, clip: "frame" }),
      Plot.text(beyond, { x: most, y: "y", text: () => "▸", fill, dx: 5, fontSize: 11 }),
      Plot.dot(placed, { x: (row) => row.interval[0], y: "y", r: 4, symbol: (row) => SYMBOLS[sources.indexOf(row.source) % SYMBOLS.length], fill }),
      tip(placed, { x: (row) => row.interval[0], y: "y", title: (row) => `${row.condition}: ${row.source}\n${describe(row)}` }),
    ],
  }));
  const said = rows.map((row) => `${row.condition}, ${row.source}: ${describe(row)}`);
  return { heading: `${panel.task}, ${panel.model}`, svg, said, conditions: [], symbols: sources.map((name, place) => [SYMBOLS[place % SYMBOLS.length], name]) };
}

const DRAW = { forest: drawForest, lines: drawLines, courses: drawCourses, seeds: drawSeeds, reliability: drawReliability, variance: drawVariance };

function drawPanel(place, panel, chart, title) {
  const drawn = DRAW[chart.kind](panel, Math.max(240, Math.floor(place.clientWidth)), chart);
  drawn.svg.querySelectorAll("style").forEach((style) => style.remove()); // page.css has it; the policy allows no other
  drawn.svg.querySelectorAll("[aria-label]").forEach((group) => group.removeAttribute("aria-label")); // the picture has one
  drawn.svg.setAttribute("role", "img");
  const more = drawn.said.length > MOST_SAID ? `; and ${drawn.said.length - MOST_SAID} more, in the tables` : "";
  drawn.svg.setAttribute("aria-label", `${title}: ${drawn.heading}. ${drawn.said.slice(0, MOST_SAID).join("; ")}${more}`);
  place.replaceChildren(make("h4", {}, drawn.heading), drawn.svg, ...(drawn.note ? [make("p", { class: "note" }, drawn.note)] : []));
  return drawn;
}

function writeLegend(place, drawn) {
  const swatches = new Map(drawn.flatMap((each) => each.conditions.map(([condition, name, dash]) => [name, [condition, dash]])));
  const symbols = new Map(drawn.flatMap((each) => [...(each.models ?? []).map((model) => [model, getSymbol(model)]), ...(each.symbols ?? []).map(([symbol, name]) => [name, symbol])]));
  const line = ([name, [condition, dash]]) => toSwatch(name, `M0,7H22`, { stroke: getColour(condition), "stroke-width": 3, ...(dash ? { "stroke-dasharray": dash } : {}) });
  const symbol = ([name, shape]) => toSwatch(name, d3.symbol(d3[`symbol${shape[0].toUpperCase()}${shape.slice(1)}`] ?? d3.symbolCircle, 60)(), { fill: INK, transform: "translate(11,7)" });
  place.replaceChildren(...[...swatches].map(line), ...(symbols.size > 1 ? [...symbols].map(symbol) : []));
}

function toSwatch(name, path, attributes) {
  const svg = d3.create("svg").attr("width", 22).attr("height", 14).attr("aria-hidden", "true");
  const mark = svg.append("path").attr("d", path);
  for (const [key, value] of Object.entries(attributes)) mark.attr(key, value);
  return make("span", {}, svg.node(), name);
}
