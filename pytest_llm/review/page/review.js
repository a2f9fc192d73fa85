// The review page; verdict.js stands above it, and makes text nodes only.
const place = document.getElementById("place"), said = document.getElementById("said");
const view = document.getElementById("item"), actions = document.getElementById("actions"), keys = document.getElementById("keys");
const NOTHING = {
  review: ["No candidate waits.", "A test whose output differs from its golden leaves one here: run pytest, then come back."],
  compare: ["There is nothing to compare.", "A pair is a golden and the new output of a test that differs from it, to the same prompt: run pytest first."],
  rate: ["There is no output to rate.", "What can be rated are texts in goldens (pytest --llm-update=new writes them), candidates, and what assert_human_rating asked for."],
};
const CHOICES = {a: "A", b: "B", tie: "neither"};
let mode = "review", list = [], at = 0, busy = false;

async function call(path, body) {
  const options = body === undefined ? {} : {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  let response;
  try { response = await fetch(path, options); } catch { throw new Error("pytest-llm does not answer: start it again"); }
  const data = await response.json();
  if (!response.ok) throw Object.assign(new Error(data.error), {status: response.status});
  return data;
}

function tell(text, good) {
  said.replaceChildren();
  put(said, text);
  said.className = good ? "good" : "";
  said.hidden = !text;
}

// One thing at a time, so that a key pressed twice does not decide on what nobody has seen.
async function alone(work) {
  if (busy) return;
  busy = true;
  try { await work(); } catch (error) {
    tell(error.message);
    if (error.status === 404) await relist().catch(() => {});
  } finally { busy = false; }
}

async function relist() {
  list = await call(`list/${mode}`);
  await show(Math.min(at, list.length - 1));
}

async function enter(next) {
  mode = next;
  list = [];
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  history.replaceState(null, "", `#${mode}`);
  list = await call(`list/${mode}`);
  await show(Math.max(0, mode === "review" ? 0 : list.findIndex((one) => !one.done)));
}

async function show(index) {
  at = Math.max(0, index);
  actions.hidden = !list.length;
  if (!list.length) {
    place.textContent = "";
    view.replaceChildren(make("h2", {}, NOTHING[mode][0]), make("p", {}, NOTHING[mode][1]));
    return;
  }
  const one = list[at], item = await call(`item/${mode}/${one.id}`);
  const left = list.filter((other) => !other.done).length;
  const part = [one.name, one.where].filter(Boolean).join(", "), name = one.test + (part && ` (${part})`);
  place.replaceChildren();
  put(place, `${at + 1} of ${list.length}${mode === "review" ? "" : `, ${left} to do`}: ${name}`);
  view.replaceChildren(...{review: reviewed, compare: compared, rate: rated}[mode](one, item));
  scrollTo(0, 0);
}

function prompted(item) {
  if (!item.prompt.length) return null;
  return make("div", {class: "prompt"}, make("h4", {}, "Prompt"),
    ...item.prompt.map(([role, text]) => make("div", {class: "text"}, role ? make("strong", {}, `${role}: `) : null, text)));
}

function act(text, key, work, pressed) {
  const button = make("button", {type: "button", "data-key": key}, `${text} `, make("kbd", {}, key));
  if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  button.addEventListener("click", () => alone(work));
  return button;
}

function commented(text) {
  const box = make("textarea", {id: "comment", maxlength: "10000", rows: "1"});
  box.value = text;
  return make("label", {for: "comment"}, "Comment, kept with what you choose ", make("kbd", {}, "c"), box);
}
const comment = () => document.getElementById("comment").value;
const moves = () => [act("Before", "k", () => show(at - 1)), act("Next", "j", () => show(Math.min(at + 1, list.length - 1)))];

function reviewed(one, item) {
  const settle = (action) => async () => {
    const {path} = await call("settle", {id: one.id, action});
    list = list.filter((other) => other.id !== one.id);
    await show(Math.min(at, list.length - 1));
    tell(action === "accept" ? `accepted ${path}` : `rejected: ${path} stays as it is`, true);
  };
  actions.replaceChildren(make("div", {class: "group"}, act("Accept", "a", settle("accept")), act("Reject", "r", settle("reject")),
    act("Skip", "s", () => show((at + 1) % list.length))), make("div", {class: "group"}, ...moves()));
  return [verdictView(item.verdict)];
}

function rated(one, item) {
  const mine = item.mine;
  const rate = (rating) => async () => {
    await call("rate", {id: one.id, rating, comment: comment()});
    one.done = true;
    const next = list.findIndex((other, i) => i > at && !other.done), any = list.findIndex((other) => !other.done);
    await show(next >= 0 ? next : any >= 0 ? any : at);
    tell(`rated ${rating}${any < 0 ? ": all outputs are rated" : ""}`, true);
  };
  const stars = [1, 2, 3, 4, 5].map((n) => act("★", String(n), rate(n), Boolean(mine) && mine.rating === n));
  stars.forEach((button, i) => button.setAttribute("aria-label", `${i + 1} of 5`));
  const group = make("div", {class: "group", role: "group", "aria-label": "Rating"}, ...stars);
  actions.replaceChildren(group, commented(mine ? mine.comment : ""), make("div", {class: "group"}, ...moves()));
  const parts = words(item.text.text);
  return [prompted(item), make("div", {class: "pair"}, boxed("Output", item.text, wordSide(parts, [], "mark"), ""))].filter(Boolean);
}

function compared(one, item) {
  const prefer = (choice) => async () => {
    await call("prefer", {id: one.id, choice, comment: comment()});
    one.done = true;
    tell("", true);
    await show(at);
  };
  const mine = item.mine, is = (choice) => Boolean(mine) && mine.choice === choice;
  actions.replaceChildren(make("div", {class: "group", role: "group", "aria-label": "Preference"},
    act("A is better", "1", prefer("a"), is("a")), act("B is better", "2", prefer("b"), is("b")), act("Neither", "0", prefer("tie"), is("tie"))),
    commented(mine ? mine.comment : ""), make("div", {class: "group"}, ...moves()));
  const parts = [item.a, item.b].map((side) => words(side.text)), marks = changed(...parts);
  const grid = make("div", {class: "sides"}, ...[item.a, item.b].map((side, i) => boxed(
    mine ? `${"AB"[i]}: ${mine.golden === "ab"[i] ? "the golden" : "the new output"}` : "AB"[i], side, wordSide(parts[i], marks[i], "mark"), "")));
  const note = mine ? `You chose ${CHOICES[mine.choice]}${mine.blind ? "" : ", not blind: it does not count in the win rate"}. A change now would not be blind.`
    : item.blind ? "" : "You have seen which is which: this comparison is not blind.";
  return [prompted(item), note ? make("p", {class: "meta", id: "told"}, note) : null, make("div", {class: "pair"}, grid)].filter(Boolean);
}

addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || keys.open) return;
  if (event.key === "?") return keys.showModal();
  if (actions.hidden) return;
  if (event.key === "c" && document.getElementById("comment")) {
    event.preventDefault();
    return document.getElementById("comment").focus();
  }
  const scrolls = event.target instanceof Element && event.target.closest(".box, .scroll");
  const key = scrolls ? event.key : {ArrowRight: "j", ArrowLeft: "k"}[event.key] || event.key;
  const button = [...actions.querySelectorAll("button")].find((one) => one.dataset.key === key);
  if (button) { event.preventDefault(); button.click(); }
});
actions.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => alone(() => { tell(""); return enter(button.dataset.mode); }));
document.getElementById("help").addEventListener("click", () => keys.showModal());
document.getElementById("done").addEventListener("click", () => alone(async () => {
  const {left} = await call("done", {});
  place.textContent = "";
  actions.hidden = true;
  document.querySelector(".bar").hidden = true;
  view.replaceChildren(make("h2", {}, "Done."), make("p", {}, left ? `${left} candidate${left === 1 ? " waits" : "s wait"} for another time. You can close this page.` : "No candidate waits. You can close this page."));
}));
alone(() => enter(location.hash.slice(1) in NOTHING ? location.hash.slice(1) : "review"));
