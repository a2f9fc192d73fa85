// The list of tests; verdict.js stands above it.
const tests = JSON.parse(document.getElementById("data").textContent);
const list = document.getElementById("tests");
const form = document.getElementById("filter");
const WORDS = {failed: "failed", uncollected: "not collected", error: "error", warned: "warning", passed: "passed", skipped: "skipped"};

function open(details, test) {
  if (details.children.length > 1) return;
  const body = make("div");
  if (test.message) {
    const box = {class: "box text", tabindex: "0", role: "region", "aria-label": `What the test raised (${++regions})`};
    body.append(make("section", {class: `verdict ${test.status}`}, make("h3", {}, "What the test raised"), make("div", box, test.message)));
  }
  for (const verdict of test.verdicts) body.append(verdictView(verdict));
  if (!test.verdicts.length) body.append(make("p", {class: "meta"}, "No golden and no gate was compared in this test."));
  details.append(body);
}

const rows = tests.map((test) => {
  const telling = test.verdicts.find((verdict) => verdict.outcome !== "pass");
  const summary = make("summary", {}, make("span", {class: `badge ${test.status}`}, WORDS[test.status]),
    make("span", {class: "id"}, test.id), telling ? make("span", {class: "why"}, `${telling.name}: ${telling.status}`) : null,
    make("span", {class: "seconds"}, `${test.seconds.toFixed(2)} s`));
  const details = make("details", {}, summary);
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    open(details, test);
    history.replaceState(null, "", `#${encodeURIComponent(test.id)}`);
  });
  const row = make("li", {}, details);
  return {test, row, details, text: null};
});
list.append(...rows.map(({row}) => row));
document.getElementById("plain").remove();

function haystack(row) {
  const texts = [row.test.id, row.test.message || ""];
  JSON.stringify(row.test.verdicts, (name, value) => {
    if (typeof value === "string" && name !== "outcome" && name !== "kind") texts.push(value);
    return value;
  });
  return texts.join("\n").toLowerCase();
}

function filter() {
  const wanted = new Set([...form.querySelectorAll("input:checked")].map((box) => box.value));
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    if (words.length && row.text === null) row.text = haystack(row);
    row.row.hidden = !(wanted.has(row.test.status) && words.every((word) => row.text.includes(word)));
    shown += !row.row.hidden;
  }
  const all = rows.length;
  document.getElementById("shown").textContent = shown === all ? `${all} test${all === 1 ? "" : "s"}` : `${shown} of ${all} tests`;
}
let waiting = 0;
form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
form.addEventListener("submit", (event) => event.preventDefault());
filter();

function jump() {
  let id = "";
  try { id = decodeURIComponent(location.hash.slice(1)); } catch { /* not one of ours */ }
  const row = rows.find(({test}) => test.id === id);
  if (row) { row.row.hidden = false; row.details.open = true; row.details.scrollIntoView(); row.details.firstChild.focus(); }
}
addEventListener("hashchange", jump);
jump();
