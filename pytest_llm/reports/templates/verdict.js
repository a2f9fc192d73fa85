"use strict";
// How a verdict is shown: in the report of a run, and in the page of `pytest-llm review --web`.
// Everything here makes text nodes: a model's output is never parsed as markup.
const OUTCOMES = {pass: "passed", warn: "warned", fail: "failed", error: "error"};
// Control characters, characters that do not show, and those that reorder what shows.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]|(?![\ufe0e\ufe0f])\p{Default_Ignorable_Code_Point}|(?<!\p{Emoji})[\ufe0e\ufe0f]|\p{Surrogate}/gu;
const UNSURE = [[0.05, "under 0.05"], [0.5, "under 0.5"], [1.5, "under 1.5"], [3, "under 3"]];
const SHOWN_TOKENS = 1000;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const child of children) if (child) typeof child === "string" ? put(node, child) : node.append(child);
  return node;
}

// Add text, with what would not show as a visible escape.
function put(node, text) {
  let at = 0;
  for (const found of text.matchAll(HIDDEN)) {
    node.append(text.slice(at, found.index));
    const code = found[0].codePointAt(0).toString(16).padStart(4, "0");
    const mark = document.createElement("span");
    mark.className = "control";
    mark.textContent = found[0] === "\r" ? "\\r" : code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code}`;
    node.append(mark);
    at = found.index + found[0].length;
  }
  node.append(text.slice(at));
  return node;
}

// Six digits; more where it takes them to tell a number from others.
function number(value, ...others) {
  if (Array.isArray(value)) return value.map((one) => number(one)).join(" to ");
  if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
  const near = (other) => Math.abs(other - value) <= 1e-9 * Math.max(Math.abs(other), Math.abs(value));
  const digits = [6, 9].find((d) => others.every((other) => near(other) || other.toPrecision(d) !== value.toPrecision(d)));
  return String(Number(value.toPrecision(digits || 17)));
}

// A figure, told from what it was held against.
function figure(figures, name) {
  const compared = ["value", "at_least", "at_most", "baseline"];
  const others = compared.includes(name) ? compared.map((other) => figures[other]) : [];
  return number(figures[name], ...others.filter((other) => typeof other === "number"));
}

// Which entries of two sequences are not in their longest common subsequence.
function changed(a, b) {
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const n = a.length - start - end, m = b.length - start - end;
  const marks = [a, b].map((side) => side.map((_, i) => i >= start && i < side.length - end));
  if (n * m === 0 || n * m > 4e6) return marks;
  const width = m + 1, table = new Uint16Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--)
      table[i * width + j] = a[start + i] === b[start + j] ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[start + i] === b[start + j]) marks[0][start + i++] = marks[1][start + j++] = false;
    else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  }
  return marks;
}

// Characters of scripts without spaces between words, each of which is a word (`UNSPACED` in reports/text.py).
const UNSPACED = String.raw`[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\u{20000}-\u{3ffff}]`;
const PIECES = new RegExp(String.raw`\s+|${UNSPACED}\p{M}*|(?:(?!${UNSPACED})[\p{L}\p{N}\p{M}_])+|[^\s\p{L}\p{N}\p{M}_]\p{M}*`, "gu");
const words = (text) => text.match(PIECES) || [];

function wordSide(parts, marks, tag) {
  const box = make("div", {class: "text"});
  for (let i = 0; i < parts.length;) {
    let j = i;
    while (j < parts.length && marks[j] === marks[i]) j++;
    const text = parts.slice(i, j).join("");
    marks[i] ? box.append(put(document.createElement(tag), text)) : put(box, text);
    i = j;
  }
  return box;
}

function tokenSide(side, marks) {
  const box = make("div", {class: "text"});
  side.tokens.slice(0, SHOWN_TOKENS).forEach((token, i) => {
    const margin = side.margins[i];
    const level = margin === null || margin === undefined ? -1 : UNSURE.findIndex(([bound]) => margin < bound);
    const node = make("span", {class: `token${level < 0 ? "" : ` u${level}`}${marks && marks[i] ? " differs" : ""}`}, token);
    node.title = `token ${i}, logprob ${number(side.logprobs[i] ?? "unknown")}, margin ${number(margin ?? "unknown")}`;
    box.append(node);
  });
  if (side.tokens.length > SHOWN_TOKENS) put(box, `… (+${side.tokens.length - SHOWN_TOKENS} tokens)`);
  return box;
}

function boxed(title, side, content, name) {
  const cut = side.start || side.text.length < side.length
    ? ` (characters ${side.start + 1} to ${side.start + side.text.length} of ${side.length})` : "";
  const box = make("div", {class: "box", tabindex: "0", role: "region", "aria-label": `${title} ${name}`}, content);
  return make("div", {}, make("h4", {}, title + cut), box);
}

let regions = 0;
function pairView(pair, titles) {
  const view = make("div", {class: "pair"});
  const name = `${pair.where || ""} (${++regions})`;
  if (pair.where) view.append(make("h4", {}, `Part ${pair.where}`));
  if (pair.prompt.length) {
    const prompt = make("div", {class: "prompt"}, make("h4", {}, "Prompt"));
    for (const [role, text] of pair.prompt)
      prompt.append(make("div", {class: "text"}, role ? make("strong", {}, `${role}: `) : null, text));
    view.append(prompt);
  }
  const [before, after] = titles || ["Golden", pair.same ? "Golden and now, identical" : "Now"];
  const sides = [[before, pair.golden, "del"], [after, pair.actual, "ins"]]
    .filter(([, side]) => side);
  const parts = sides.map(([, side]) => words(side.text));
  const marks = parts.length === 2 ? changed(...parts) : parts.map((part) => part.map(() => false));
  const grid = make("div", {class: "sides"});
  const fill = (tokens) => {
    const mine = tokens && sides.length === 2 ? changed(sides[0][1].tokens, sides[1][1].tokens) : [];
    grid.replaceChildren(...sides.map(([title, side, tag], i) =>
      boxed(title, side, tokens && side.tokens.length ? tokenSide(side, mine[i]) : wordSide(parts[i], marks[i], tag), name)));
  };
  fill(false);
  view.append(grid);
  if (sides.some(([, side]) => (side.tokens || []).length)) view.append(...tokenTools(sides, fill));
  return view;
}

function tokenTools(sides, fill) {
  const legend = make("span", {class: "legend"}, "Nats before the runner-up:");
  UNSURE.forEach(([, text], i) => legend.append(make("span", {class: `u${i}`}, text)));
  legend.hidden = true;
  const button = make("button", {type: "button", "aria-pressed": "false"}, "Colour tokens by margin");
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    legend.hidden = !on;
    fill(on);
  });
  const table = make("details", {}, make("summary", {}, "Tokens as a table"));
  table.addEventListener("toggle", () => table.open && table.children.length === 1 && table.append(tokenTable(sides)), {once: true});
  return [make("div", {class: "tools"}, button, legend), table];
}

function tokenTable(sides) {
  const head = make("tr", {}, make("th", {scope: "col", class: "n"}, "#"));
  for (const [title] of sides)
    for (const [column, kind] of [["token", ""], ["logprob", "n"], ["margin", "n"]])
      head.append(make("th", {scope: "col", class: kind}, `${title.split(" ")[0]} ${column}`));
  const body = make("tbody");
  const rows = Math.min(SHOWN_TOKENS, Math.max(...sides.map(([, side]) => side.tokens.length)));
  for (let i = 0; i < rows; i++) {
    const row = make("tr", {}, make("th", {scope: "row", class: "n"}, String(i)));
    for (const [, side] of sides) {
      const there = i < side.tokens.length;
      row.append(make("td", {}, there ? make("code", {}, JSON.stringify(side.tokens[i])) : null));
      for (const nats of [side.logprobs[i], side.margins[i]])
        row.append(make("td", {class: "n"}, there && nats !== null && nats !== undefined ? nats.toFixed(3) : ""));
    }
    body.append(row);
  }
  const region = {class: "scroll", tabindex: "0", role: "region", "aria-label": `Tokens (${++regions})`};
  return make("div", region, make("table", {}, make("thead", {}, head), body));
}

function draw(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

// The figure of a gate on an axis: its interval, its bound, and the side on which the gate fails.
function gateView(verdict) {
  const f = verdict.figures || {}, up = (verdict.evidence || {}).higher_is_better;
  let point, low, high, bound, zero, said;
  if (typeof f.delta === "number" && typeof f.margin === "number" && typeof up === "boolean") {
    [point, [low, high], bound, zero] = [f.delta, f.interval || [f.delta, f.delta], up ? -f.margin : f.margin, 0];
    said = `change ${number(point)}` + (f.interval ? `, ${number(100 * f.confidence)} % interval ${number(low)} to ${number(high)}` : "")
      + `; the margin ends at ${number(bound)}`;
  } else if (typeof f.value === "number" && typeof (f.at_least ?? f.at_most) === "number") {
    const spread = 2 * (f["standard error"] || 0);
    [point, low, high, bound] = [f.value, f.value - spread, f.value + spread, f.at_least ?? f.at_most];
    said = `value ${number(point, bound)}` + (spread ? `, two standard errors ${number(low)} to ${number(high)}` : "")
      + `; ${f.at_least === undefined ? "at most" : "at least"} ${number(bound, point)} is asked`;
  } else return null;
  if (![point, low, high, bound].every((x) => typeof x === "number")) return null;
  const failsBelow = zero === 0 ? up : f.at_least !== undefined;
  const all = [point, low, high, bound, ...(zero === 0 ? [0] : [])];
  const least = Math.min(...all), span = Math.max(...all) - least || Math.abs(point) || 1;
  const x = (value) => 30 + 340 * (value - least) / span;
  const svg = draw("svg", {viewBox: "0 0 400 84", role: "img", "aria-label": said});
  const edge = x(bound);
  svg.append(draw("rect", {class: "zone", x: failsBelow ? 0 : edge, y: 18, width: failsBelow ? edge : 400 - edge, height: 40}));
  svg.append(draw("line", {class: "axis", x1: 0, x2: 400, y1: 58, y2: 58}));
  if (zero === 0) svg.append(draw("line", {class: "zero", x1: x(0), x2: x(0), y1: 18, y2: 58}));
  svg.append(draw("line", {class: "bound", x1: edge, x2: edge, y1: 18, y2: 58}));
  svg.append(draw("line", {class: "interval", x1: x(low), x2: x(high), y1: 38, y2: 38}));
  for (const end of [low, high]) svg.append(draw("line", {class: "interval", x1: x(end), x2: x(end), y1: 32, y2: 44}));
  svg.append(draw("circle", {class: "point", cx: x(point), cy: 38, r: 5}));
  const label = (value, y, text, soft) => {
    const at = x(value), anchor = at < 90 ? "start" : at > 310 ? "end" : "middle";
    svg.append(draw("text", {x: anchor === "start" ? Math.max(0, at - 24) : anchor === "end" ? Math.min(400, at + 24) : at, y, "text-anchor": anchor, class: soft ? "soft" : ""}, text));
  };
  label(point, 12, zero === 0 ? `change ${number(point)}` : `value ${number(point, bound)}`);
  label(bound, 76, zero === 0 ? `margin ${number(bound)}` : `${f.at_least === undefined ? "at most" : "at least"} ${number(bound, point)}`, true);
  if (zero === 0 && Math.abs(edge - x(0)) > 110) label(0, 76, "baseline", true);
  return svg;
}

function seriesView(series) {
  const known = series.values.filter((value) => value !== null);
  if (!known.length) return null;
  const top = Math.max(...known, series.limit ?? 0) || 1, floor = Math.min(...known, 0);
  const x = (i) => 50 + 340 * (series.values.length > 1 ? i / (series.values.length - 1) : 0.5);
  const y = (value) => 130 - 110 * (value - floor) / (top - floor);
  const worst = series.values.indexOf(Math.max(...known));
  const said = `${series.title}: ${series.y} by ${series.x}, largest ${number(series.values[worst])} at ${worst}`;
  const svg = draw("svg", {viewBox: "0 0 400 160", role: "img", "aria-label": said});
  svg.append(draw("line", {class: "axis", x1: 50, x2: 390, y1: 130, y2: 130}), draw("line", {class: "axis", x1: 50, x2: 50, y1: 20, y2: 130}));
  if (typeof series.limit === "number") svg.append(draw("line", {class: "bound", x1: 50, x2: 390, y1: y(series.limit), y2: y(series.limit)}));
  let path = "", pen = "M";
  series.values.forEach((value, i) => {
    if (value === null) pen = "M";
    else { path += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`; pen = "L"; }
  });
  svg.append(draw("path", {class: "curve", d: path}), draw("circle", {class: "point", cx: x(worst), cy: y(series.values[worst]), r: 4}));
  svg.append(draw("text", {x: 0, y: 12}, `${series.title} (${series.y})`));
  svg.append(draw("text", {x: 46, y: 28, "text-anchor": "end", class: "soft"}, number(Number(top.toPrecision(3)))));
  svg.append(draw("text", {x: 46, y: 130, "text-anchor": "end", class: "soft"}, number(Number(floor.toPrecision(3)))));
  svg.append(draw("text", {x: 390, y: 150, "text-anchor": "end", class: "soft"}, `${series.x} 0 to ${series.values.length - 1}`));
  return svg;
}

function verdictView(verdict) {
  const status = OUTCOMES[verdict.outcome], evidence = verdict.evidence || {};
  const view = make("section", {class: `verdict ${status}`});
  view.append(make("h3", {}, make("span", {class: `badge ${status}`}, verdict.status), verdict.headline));
  const figures = verdict.figures || {};
  if (Object.keys(figures).length) {
    const facts = make("dl", {class: "facts"});
    for (const name of Object.keys(figures))
      facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, figure(figures, name))));
    view.append(facts);
  }
  const gate = gateView(verdict);
  if (gate) view.append(gate);
  for (const series of evidence.series || []) { const curve = seriesView(series); if (curve) view.append(curve); }
  if ((verdict.notes || []).length) view.append(make("ul", {class: "notes"}, ...verdict.notes.map((note) => make("li", {}, note))));
  const pairs = evidence.pairs || [];
  if ((verdict.diff || []).length && (!pairs.length || verdict.status === "stale"))
    view.append(make("div", {class: "box diff", tabindex: "0", role: "region", "aria-label": `Difference (${++regions})`}, verdict.diff.join("\n")));
  for (const pair of pairs) view.append(pairView(pair));
  if (evidence.omitted) view.append(make("p", {class: "meta"}, `…and ${evidence.omitted} more parts.`));
  for (const example of verdict.examples || []) {
    const side = (text) => ({text, start: 0, length: text.length, tokens: []});
    const value = example.value === null || example.value === undefined ? "" : `, ${number(example.value)}`;
    const before = example.before !== example.actual && example.before;
    view.append(make("h4", {}, `Example ${example.id}${value}`));
    for (const [title, text] of [["Expected", example.expected], ["Before", before]])
      if (text || (title === "Expected" && !before))
        view.append(pairView({where: "", prompt: [], golden: text ? side(text) : null, actual: side(example.actual || "")}, [title, "Now"]));
  }
  return view;
}
