"use strict";
// Texts come from logs, guests and users. They are put in as text alone, never as HTML.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);

function el(tag, fields = {}, ...children) {
  const node = Object.assign(document.createElement(tag), fields);
  node.append(...children);
  return node;
}

function describe(list, pairs) {
  for (const [name, text] of pairs) list.append(el("div", {}, el("dt", {}, name), el("dd", {}, text)));
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function explainKeys(keys) {
  for (const [key, what] of keys) {
    const names = key.split(" ").map((name) => el("kbd", {}, name));
    $("keytable").append(el("tr", {}, el("td", {}, ...names), el("td", {}, what)));
  }
}

// "0,2-4" as a test of numbers; null where the text is no such list.
function numbers(text) {
  if (!text.trim()) return () => true;
  const ranges = [];
  for (const part of text.split(",")) {
    const found = part.trim().match(/^(\d+)(?:-(\d+))?$/);
    if (!found) return null;
    ranges.push([Number(found[1]), Number(found[2] ?? found[1])]);
  }
  return (n) => ranges.some(([a, b]) => a <= n && n <= b);
}
