// The picture: lanes on a canvas, of which only what is on the screen is drawn.
const LANE = 44, AXIS = 20, NAMES = 78;
const ROWS = { command: [4, 13], step: [18, 12], level: [37, 4] };
const MARK_Y = 33;

class Lanes {
  constructor(log, shown, choose) {
    Object.assign(this, { log, shown, choose, at: 0, scale: "time" });
    this.box = $("picture");
    this.canvas = $("canvas");
    this.spacer = el("div");
    this.box.append(this.spacer);
    this.drawing = false;
    this.fit();
    new ResizeObserver(() => this.draw()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.box.addEventListener("scroll", () => this.draw());
    this.listen();
  }

  place(n) { return this.scale === "time" ? this.log.t[n] : n; }
  get ends() {
    const last = this.log.count - 1;
    return last < 0 ? [0, 1] : [this.place(0), this.place(last)];
  }

  fit() {
    const [a, b] = this.ends, wide = b - a || 1;
    this.from = a - wide * 0.01;
    this.to = b + wide * 0.02;
    this.draw();
  }

  zoom(by, middle = (this.from + this.to) / 2) {
    const [a, b] = this.ends, least = this.scale === "time" ? 2e-6 : 4;
    const wide = Math.min(Math.max((this.to - this.from) * by, least), ((b - a) || 1) * 1.1);
    const share = (middle - this.from) / (this.to - this.from);
    this.from = middle - wide * share;
    this.to = this.from + wide;
    this.draw();
  }

  pan(by) {
    const [a, b] = this.ends, wide = this.to - this.from;
    this.from = Math.min(Math.max(this.from + by * wide, a - wide / 2), b - wide / 2);
    this.to = this.from + wide;
    this.draw();
  }

  show(at) {
    this.at = at;
    if (this.log.count) {
      const place = this.place(at), wide = this.to - this.from;
      if (place < this.from || place > this.to) {
        this.from = place - wide / 2;
        this.to = place + wide / 2;
      }
      const top = this.visible.indexOf(this.log.lane[at]) * LANE;
      const room = this.box.clientHeight - AXIS - LANE;
      if (top >= 0 && (top < this.box.scrollTop || top > this.box.scrollTop + room)) {
        this.box.scrollTop = top - room / 2;
      }
    }
    this.draw();
  }

  get visible() { return this.shown.lanes; }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; this.paint(); });
  }

  // A canvas knows no variables of the styles; the colours are asked for once a theme.
  colours() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    if (this.theme === theme) return this.found;
    const style = getComputedStyle(document.documentElement);
    const probe = (this.probe ??= this.box.appendChild(el("span", { hidden: true })));
    this.found = {};
    for (const name of ["ink", "soft", "rule", "back", "panel", "level", "wrong", ...this.log.data.kinds]) {
      probe.style.color = style.getPropertyValue(`--${name}`);
      this.found[name] = getComputedStyle(probe).color;
    }
    this.theme = theme;
    return this.found;
  }

  paint() {
    const wide = this.box.clientWidth, high = this.box.clientHeight, ratio = devicePixelRatio || 1;
    if (!wide || !high) return;
    this.spacer.style.height = `${Math.max(0, this.visible.length * LANE + AXIS - high)}px`;
    const c = this.canvas;
    if (c.width !== Math.round(wide * ratio) || c.height !== Math.round(high * ratio)) {
      c.width = Math.round(wide * ratio);
      c.height = Math.round(high * ratio);
      c.style.width = `${wide}px`;
      c.style.height = `${high}px`;
    }
    const g = (this.g ??= c.getContext("2d"));
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, wide, high);
    g.font = '11px system-ui, "DejaVu Sans", sans-serif';
    g.textBaseline = "middle";
    this.width = wide;
    this.pixels = (wide - NAMES) / (this.to - this.from);
    const colours = this.colours();
    const first = Math.floor(this.box.scrollTop / LANE);
    const last = Math.min(this.visible.length, first + Math.ceil(high / LANE) + 1);
    for (let n = first; n < last; n++) {
      this.lane(g, this.visible[n], AXIS + n * LANE - this.box.scrollTop, colours);
    }
    this.axis(g, wide, colours);
    this.lines(g, wide, high, colours);
  }

  x(place) { return NAMES + (place - this.from) * this.pixels; }
  placeAt(x) { return this.from + (x - NAMES) / this.pixels; }

  lane(g, lane, y, colours) {
    const { log, width } = this;
    g.strokeStyle = colours.rule;
    g.beginPath();
    g.moveTo(0, y + LANE - 0.5);
    g.lineTo(width, y + LANE - 0.5);
    g.stroke();
    g.save();
    g.beginPath();
    g.rect(NAMES, Math.max(y, AXIS), width - NAMES, LANE);
    g.clip();
    const end = log.count ? this.place(log.count - 1) : 0;
    const drawn = {};
    let failed = 0;
    for (const bar of log.bars[lane]) {
      if (!this.shown.bar(bar)) continue;
      const a = this.x(this.place(bar.begin));
      if (a > width) break;
      const b = bar.end === null ? Math.max(this.x(end), a + 6) : this.x(this.place(bar.end));
      if (b < NAMES) continue;
      const left = Math.max(a, NAMES), wide = Math.max(Math.min(b, width) - left, 1);
      // a pixel that has a bar in it already shows no more by a second one, unless that failed
      if (left + wide <= drawn[bar.row] && !(bar.failed && left + wide > failed)) continue;
      drawn[bar.row] = Math.floor(left + wide);
      if (bar.failed) failed = drawn[bar.row];
      const [top, tall] = ROWS[bar.row];
      const colour = bar.failed ? "failures" : { command: "commands", step: "steps", level: "level" }[bar.row];
      g.fillStyle = colours[colour];
      g.globalAlpha = bar.end === null ? 0.55 : 1;
      g.fillRect(left, y + top, wide > 3 ? wide - 1 : wide, tall);
      g.globalAlpha = 1;
      if (wide > 24 && bar.row !== "level") this.label(g, bar.says, left, y + top + tall / 2, wide, colours.back);
    }
    this.marks(g, lane, y, colours);
    g.restore();
    g.fillStyle = colours.ink;
    g.fillText(log.data.lanes[lane], 4, y + LANE / 2);
  }

  label(g, text, x, y, wide, colour) {
    const short = text.length * 6 > wide - 4 ? text.slice(0, Math.max(1, Math.floor((wide - 8) / 6))) + "…" : text;
    g.fillStyle = colour;
    g.fillText(short, x + 3, y + 0.5);
  }

  // Of several marks in one place one is drawn: what is hidden by it has its colour and shape.
  marks(g, lane, y, colours) {
    const { log, width, shown } = this, { kinds } = log.data, found = log.marks[lane];
    const times = this.scale === "time" ? log.t : null, some = shown.some, kind = log.kind;
    const plain = kinds.map((name) => name === "commands" || name === "steps");
    const weak = kinds.map((name) => name === "guest" || name === "notes");
    const free = kinds.map(() => -Infinity);
    for (let i = this.firstAfter(found, this.from); i < found.length; i++) {
      const n = found[i], k = kind[n];
      if (plain[k] || !some[n]) continue;
      const x = NAMES + ((times ? times[n] : n) - this.from) * this.pixels;
      if (x > width) break;
      if (x < free[k]) continue;
      free[k] = Math.floor(x) + (weak[k] ? 1 : 3);
      g.fillStyle = colours[kinds[k]];
      if (weak[k]) g.fillRect(x - 0.5, y + MARK_Y - 2, 1.5, 5);
      else for (let r = 0; r < 4; r++) g.fillRect(x - 4 + r, y + MARK_Y - r - 0.5, 8 - 2 * r, 2 * r + 1);
    }
  }

  // Events stand in their order in time; the first in `found` that is at `place` or later.
  firstAfter(found, place) {
    let low = 0, high = found.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.place(found[middle]) < place) low = middle + 1; else high = middle;
    }
    return low;
  }

  axis(g, wide, colours) {
    g.fillStyle = colours.panel;
    g.fillRect(0, 0, wide, AXIS);
    const room = (this.to - this.from) * 90 / (wide - NAMES);
    const ten = 10 ** Math.floor(Math.log10(room));
    let step = [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= room);
    if (this.scale === "events") step = Math.max(1, Math.round(step));
    g.fillStyle = g.strokeStyle = colours.soft;
    const [low, high] = this.ends;
    for (let n = Math.ceil(Math.max(this.from, low) / step); n * step <= Math.min(this.to, high); n++) {
      const x = this.x(n * step);
      g.fillRect(x, AXIS - 4, 1, 4);
      g.fillText(this.scale === "events" ? String(this.log.seq(n * step)) : seconds(n * step, step), x + 3, AXIS / 2);
    }
    g.fillText(this.scale === "events" ? "event" : "seconds", 4, AXIS / 2);
  }

  lines(g, wide, high, colours) {
    if (!this.log.count) return;
    const { wrong } = this.log.data;
    if (wrong && wrong.at >= 0 && wrong.at < this.log.count) {
      const x = this.x(this.place(wrong.at));
      if (x >= NAMES) {
        g.fillStyle = colours.wrong;
        g.fillRect(x - 1, AXIS, 2, high);
        const text = `wrong: ${wrong.invariant}`, room = g.measureText(text).width + 8;
        const left = Math.max(NAMES, Math.min(x, wide - room));
        g.fillRect(left, 2, room, AXIS - 4);
        g.fillStyle = colours.back;
        g.fillText(text, left + 4, AXIS / 2);
      }
    }
    const x = this.x(this.place(this.at));
    if (x < NAMES) return;
    g.fillStyle = colours.ink;
    g.fillRect(x - 0.5, AXIS, 1, high);
  }

  // What is under the pointer: a mark or a bar, as [event, words]; null where there is nothing.
  under(x, y) {
    const row = Math.floor((y - AXIS + this.box.scrollTop) / LANE), lane = this.visible[row];
    if (lane === undefined || y < AXIS || x < NAMES) return null;
    const inside = (y - AXIS + this.box.scrollTop) % LANE, found = this.log.marks[lane];
    if (inside >= MARK_Y - 3) {
      let best = null, near = 6;
      for (let i = this.firstAfter(found, this.placeAt(x - 6)); i < found.length; i++) {
        const away = Math.abs(this.x(this.place(found[i])) - x);
        if (this.x(this.place(found[i])) > x + 6) break;
        if (away < near && this.shown.event(found[i], lane)) [best, near] = [found[i], away];
      }
      if (best !== null) return [best, `${this.log.seq(best)}  ${this.log.says(best)}`];
    }
    for (const bar of this.log.bars[lane]) {
      const [top, tall] = ROWS[bar.row];
      if (inside < top - 1 || inside > top + tall + 1 || !this.shown.bar(bar)) continue;
      const a = this.x(this.place(bar.begin));
      if (a > x + 2) break;
      const b = bar.end === null ? this.width : this.x(this.place(bar.end));
      if (x <= Math.max(b, a + 2)) return [bar.begin, barWords(this.log, bar)];
    }
    return null;
  }

  listen() {
    let drag = null;
    const at = (e) => { const r = this.canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    this.canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !e.metaKey && !e.shiftKey) return;
      e.preventDefault();
      if (e.shiftKey) this.pan(Math.sign(e.deltaY || e.deltaX) * 0.1);
      else this.zoom(e.deltaY > 0 ? 1.25 : 0.8, this.placeAt(at(e)[0]));
    }, { passive: false });
    this.canvas.addEventListener("pointerdown", (e) => {
      drag = { x: e.clientX, moved: false };
      this.canvas.setPointerCapture(e.pointerId);
    });
    this.canvas.addEventListener("pointermove", (e) => {
      if (drag) {
        const by = e.clientX - drag.x;
        if (Math.abs(by) < 3 && !drag.moved) return;
        drag.moved = true;
        drag.x = e.clientX;
        this.pan(-by / (this.width - NAMES));
        return;
      }
      const found = this.under(...at(e)), tip = $("tip");
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = found[1];
      tip.style.left = `${Math.min(e.clientX + 12, innerWidth - 430)}px`;
      tip.style.top = `${Math.min(e.clientY + 14, innerHeight - 60)}px`;
    });
    this.canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
    this.canvas.addEventListener("pointerup", (e) => {
      const moved = drag?.moved, [x, y] = at(e);
      drag = null;
      if (moved) return;
      const found = this.under(x, y);
      this.choose(found ? found[0] : this.nearest(this.placeAt(x)));
    });
  }

  nearest(place) {
    let low = 0, high = this.log.count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.place(middle) < place) low = middle + 1; else high = middle;
    }
    if (low > 0 && place - this.place(low - 1) < this.place(low) - place) low--;
    return low;
  }
}

function seconds(value, step) {
  return value.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step)))));
}

function barWords(log, bar) {
  if (bar.end === null) return `${bar.says}: from event ${log.seq(bar.begin)}, not ended`;
  const took = log.t[bar.end] - log.t[bar.begin];
  const how = bar.failed ? ", failed" : "";
  return `${bar.says}: from event ${log.seq(bar.begin)} to ${log.seq(bar.end)}, ${(took * 1000).toFixed(3)} ms${how}`;
}
