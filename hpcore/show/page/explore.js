// A walk from state to state: the way here, what may come next, the state.
const [MACHINE, ROWS_OF, DEPTH, CAME_FROM, CAME_BY, MOVES] = [0, 1, 2, 3, 4, 5];
const { states, texts } = data;
let way = [], ahead = [], at = 0, broke = null;
const seen = new Set([0]);
const body = el("tbody");

// The moves of the shortest way from the first state to `to`, each as [state, number of move].
function shortest(to) {
  const out = [];
  for (let n = to; states[n][CAME_FROM] >= 0; n = states[n][CAME_FROM]) {
    out.unshift([states[n][CAME_FROM], states[n][CAME_BY]]);
  }
  return out;
}

const breaks = states.findIndex((state) => state[MOVES]?.some((move) => move[3]));

function take(number) {
  const move = states[at][MOVES]?.[number];
  if (!move || broke) return;
  way.push([at, number]);
  ahead = [];
  arrive(move);
}

function arrive(move) {
  if (move[3]) broke = move; else { at = move[2]; seen.add(at); }
  draw();
}

function back() {
  if (!way.length) return;
  const last = way.pop();
  ahead.push(last);
  broke = null;
  at = last[0];
  draw();
}

function on() {
  if (!ahead.length) return;
  const next = ahead.pop();
  way.push(next);
  arrive(states[next[0]][MOVES][next[1]]);
}

function go(to) {
  way = shortest(to);
  ahead = [];
  broke = null;
  at = to;
  seen.add(at);
  draw();
}

function draw() {
  const state = states[at], before = way.length ? states[way.at(-1)[0]] : null;
  location.hash = String(at);
  $("waytitle").textContent = `The way here: ${way.length}, at the shortest ${state[DEPTH] + (broke ? 1 : 0)}`;
  $("way").replaceChildren(...way.map(([from, number], n) => {
    const button = el("button", {}, texts[states[from][MOVES][number][0]]);
    button.addEventListener("click", () => { while (way.length > n + 1) back(); });
    return el("li", {}, button);
  }));
  $("way").lastElementChild?.scrollIntoView({ block: "nearest" });
  drawNext(state);
  drawState(state, before);
  $("back").disabled = !way.length;
  $("on").disabled = !ahead.length;
}

function drawNext(state) {
  const moves = broke ? [] : state[MOVES];
  const title = $("nexttitle");
  if (broke) title.textContent = `Broken: ${broke[3][0]} for vCPU ${broke[3][1]}: ${broke[3][2]}`;
  else if (!moves) title.textContent = "The rim: what may come next here was not looked into, as there are more states than this page has";
  else title.textContent = moves.length ? `What may come next: ${moves.length}` : "Nothing may come any more";
  title.classList.toggle("failures", Boolean(broke));
  const wanted = $("find").value.trim().toLowerCase();
  $("next").replaceChildren(...(moves ?? []).map((move, n) => {
    const events = move[1].map((event) => texts[event]).join("; ");
    const button = el("button", {}, texts[move[0]]);
    button.addEventListener("click", () => take(n));
    const leads = move[3] ? `breaks ${move[3][0]}: ` : states[move[2]][MOVES] ? "" : "to the rim: ";
    const item = el("li", {}, button, el("p", { className: "said" }, leads + events));
    if (move[3]) item.classList.add("broken");
    else if (!states[move[2]][MOVES]) item.classList.add("rim");
    else if (seen.has(move[2])) item.classList.add("seen");
    if (wanted && !`${texts[move[0]]} ${events}`.toLowerCase().includes(wanted)) item.classList.add("dim");
    return item;
  }));
}

function drawState(state, before) {
  $("statetitle").textContent = `State ${at}: the machine is ${data.machines[state[MACHINE]]}`;
  body.replaceChildren(...state[ROWS_OF].map((row, vcpu) => {
    const cells = [String(vcpu), ...data.rows[row]].map((text) => el("td", {}, text));
    const changed = before && !broke && before[ROWS_OF][vcpu] !== row;
    return el("tr", { className: changed ? "changed" : "" }, ...cells);
  }));
}

describe($("about"), data.about);
const rim = states.filter((state) => !state[MOVES]);
const whole = rim.reduce((least, state) => Math.min(least, state[DEPTH]), Infinity);
const more = rim.length ? `; ${rim.length} states at the rim were not looked into, every way of up to ${whole} moves is here` : "";
const moves = states.reduce((sum, state) => sum + (state[MOVES]?.length ?? 0), 0);
$("verdict").classList.toggle("bad", breaks >= 0);
$("verdict").append(el("p", {}, `${states.length} states, ${moves} moves${more}. ${breaks >= 0 ? "An invariant can be broken." : rim.length ? "Nothing breaks in those that were." : "Nothing breaks."}`));
const head = el("tr", {}, el("th", {}, "vCPU"), ...data.columns.map((name) => el("th", {}, name)));
$("state").append(el("h2", { id: "statetitle" }), el("table", {}, el("thead", {}, head), body));

const ACTIONS = {
  ArrowLeft: back, Backspace: back, ArrowRight: on, Home: () => go(0),
  s: () => { if (!broke) go(at); }, b: () => { if (breaks >= 0) go(breaks); },
  d: toggleTheme, "/": () => $("find").focus(), "?": () => $("keys").showModal(),
};
for (let n = 1; n <= 9; n++) ACTIONS[n] = () => take(n - 1);
explainKeys([
  ["1 ... 9", "take that move"], ["← →", "back, and on again"], ["Home", "the first state"],
  ["s", "come here by the shortest way"], ["b", "where something can break"],
  ["/", "find a stimulus or an event among the moves"], ["d", "dark or light"],
]);
for (const [id, key] of [["start", "Home"], ["back", "ArrowLeft"], ["on", "ArrowRight"], ["shortest", "s"], ["broken", "b"], ["theme", "d"], ["help", "?"]]) {
  $(id).addEventListener("click", ACTIONS[key]);
}
$("broken").hidden = breaks < 0;
$("find").addEventListener("input", () => drawNext(states[at]));
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  if (e.target.matches("input")) { if (e.key === "Escape" || e.key === "Enter") e.target.blur(); return; }
  const action = ACTIONS[e.key];
  if (action) { e.preventDefault(); action(); }
});
const named = Number(location.hash.slice(1));
go(Number.isInteger(named) && named >= 0 && named < states.length ? named : 0);
