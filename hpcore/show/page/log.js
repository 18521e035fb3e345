// The page of a log: the parts, and what keys and controls do with them.
const log = new Log(data);
const shown = new Shown(log);
const lanes = new Lanes(log, shown, choose);
const list = new List(log, shown, choose);
const table = new StateTable(log, shown);
let at = 0;

function choose(n) {
  at = Math.min(Math.max(n, 0), Math.max(log.count - 1, 0));
  $("slider").value = at;
  $("slider").setAttribute("aria-valuetext", log.count ? `event ${log.seq(at)}: ${log.says(at)}` : "none");
  $("number").value = log.seq(at);
  lanes.show(at);
  list.show(at);
  table.show(log.count ? at : -1);
}

// To the next event that is shown, forwards or backwards.
function step(by) {
  if (!shown.events.length) return;
  let place = shown.place(at);
  if (by < 0 || shown.events[place] === at) place += by;
  choose(shown.events[Math.min(Math.max(place, 0), shown.events.length - 1)]);
}

function seek(kinds) {
  for (let i = shown.place(at + 1); i < shown.events.length; i++) {
    if (kinds.includes(data.kinds[log.kind[shown.events[i]]])) return choose(shown.events[i]);
  }
}

function toWrong() { if (data.wrong && data.wrong.at < log.count) choose(data.wrong.at); }

function rescale(scale) {
  $("scale").value = lanes.scale = scale;
  lanes.fit();
  lanes.show(at);
}

function filter() {
  const cpus = numbers($("cpus").value);
  $("cpus").setCustomValidity(cpus ? "" : "vCPUs as numbers: 0,2-4");
  $("cpus").reportValidity();
  if (cpus) shown.cpus = cpus;
  shown.find = $("find").value.trim().toLowerCase();
  shown.update();
  choose(at);
}

describe($("about"), data.about);
$("verdict").classList.toggle("bad", !data.ok);
$("verdict").append(...data.verdict.map((text) => el("p", {}, text)));
for (const kind of data.kinds) {
  const box = el("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    if (box.checked) shown.kinds.add(kind); else shown.kinds.delete(kind);
    shown.update();
    choose(at);
  });
  $("kinds").append(el("label", { className: `kind ${kind}` }, box, kind));
}

$("slider").max = Math.max(log.count - 1, 0);
$("number").min = data.first;
$("number").max = log.seq(Math.max(log.count - 1, 0));
$("slider").addEventListener("input", () => choose(Number($("slider").value)));
$("number").addEventListener("change", () => choose(Number($("number").value) - data.first));
$("cpus").addEventListener("change", filter);
$("find").addEventListener("input", filter);
$("scale").addEventListener("change", () => rescale($("scale").value));
$("wrong").hidden = !data.wrong;
$("wrong").addEventListener("click", toWrong);

const ACTIONS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1),
  "[": () => choose(log.decisionOf(Math.max(log.decisionOf(at) - 1, 0))), "]": () => choose(log.nextDecision(at)),
  PageUp: () => step(-25), PageDown: () => step(25),
  Home: () => choose(0), End: () => choose(log.count - 1),
  "+": () => lanes.zoom(0.5, lanes.place(at)), "=": () => lanes.zoom(0.5, lanes.place(at)),
  "-": () => lanes.zoom(2, lanes.place(at)), 0: () => lanes.fit(),
  a: () => lanes.pan(-0.2), s: () => lanes.pan(0.2),
  w: toWrong, f: () => seek(["failures", "refusals"]),
  x: () => rescale(lanes.scale === "time" ? "events" : "time"),
  d: () => { toggleTheme(); lanes.draw(); },
  "/": () => $("find").focus(), v: () => $("cpus").focus(), "?": () => $("keys").showModal(),
};
explainKeys([
  ["← →", "the event before, the next"], ["[ ]", "the decision before, the next"],
  ["PageUp PageDown", "25 events on"], ["Home End", "the first event, the last"],
  ["w", "the event that is wrong"], ["f", "the next failure or refusal"],
  ["+ - 0", "closer, wider, all of it"], ["a s", "the picture to the left, to the right"],
  ["x", "across: time, or one event beside the other"], ["v", "which vCPUs"], ["/", "find a text"],
  ["d", "dark or light"], ["Ctrl wheel", "closer or wider, where the pointer is"], ["Shift wheel", "left or right"],
]);
for (const [id, key] of [["back", "ArrowLeft"], ["on", "ArrowRight"], ["closer", "+"], ["wider", "-"], ["fit", "0"], ["theme", "d"], ["help", "?"]]) {
  $(id).addEventListener("click", ACTIONS[key]);
}
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  const typing = e.target.matches("input:not([type=range]):not([type=checkbox]), select");
  if (typing) { if (e.key === "Escape" || e.key === "Enter") e.target.blur(); return; }
  const action = ACTIONS[e.key];
  if (action) { e.preventDefault(); action(); }
});
choose(data.wrong && data.wrong.at >= 0 && data.wrong.at < log.count ? data.wrong.at : 0);
