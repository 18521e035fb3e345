// What is shown, the list of events, and the table of the state.
const ROW = 20;

class Shown {
  constructor(log) {
    Object.assign(this, { log, cpus: () => true, kinds: new Set(log.data.kinds), find: "" });
    this.update();
  }

  update() {
    const { log } = this, all = this.kinds.size === log.data.kinds.length;
    this.lanes = log.data.lanes.map((_, lane) => lane).filter((lane) => lane < 2 || this.cpus(lane - 2));
    this.everything = all && !this.find && this.lanes.length === log.lanes;
    const wanted = log.data.texts.map((text) => !this.find || text.toLowerCase().includes(this.find));
    const kinds = log.data.kinds.map((kind) => this.kinds.has(kind));
    this.some = new Uint8Array(log.count);
    const events = [];
    for (let n = 0; n < log.count; n++) {
      const lane = log.lane[n];
      if (kinds[log.kind[n]] && wanted[log.data.says[n]] && (lane < 2 || this.cpus(lane - 2))) {
        this.some[n] = 1;
        events.push(n);
      }
    }
    this.events = Uint32Array.from(events);
  }

  event(n) { return this.some[n] === 1; }
  bar(bar) {
    if (this.find && !bar.says.toLowerCase().includes(this.find)) return false;
    if (bar.failed && this.kinds.has("failures")) return true;
    return { command: this.kinds.has("commands"), step: this.kinds.has("steps"), level: true }[bar.row];
  }

  // Where in `events` event `n` stands, or the first one after it.
  place(n) {
    let low = 0, high = this.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle] < n) low = middle + 1; else high = middle;
    }
    return low;
  }
}

class List {
  constructor(log, shown, choose) {
    Object.assign(this, { log, shown, choose, at: 0, waiting: false });
    this.box = $("list");
    this.height = el("div");
    this.rows = el("div", { className: "rows" });
    this.box.append(this.height, this.rows);
    this.box.addEventListener("scroll", () => this.draw());
    this.rows.addEventListener("click", (e) => {
      const row = e.target.closest(".event");
      if (row) this.choose(Number(row.dataset.at));
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  show(at) {
    this.at = at;
    const top = this.shown.place(at) * ROW, room = this.box.clientHeight - ROW;
    this.height.style.height = `${this.shown.events.length * ROW}px`;
    if (top < this.box.scrollTop || top > this.box.scrollTop + room) this.box.scrollTop = top - room / 2;
    this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const { log, shown } = this, first = Math.floor(this.box.scrollTop / ROW);
    const last = Math.min(shown.events.length, first + Math.ceil(this.box.clientHeight / ROW) + 1);
    this.rows.style.top = `${first * ROW}px`;
    const nodes = [];
    for (let i = first; i < last; i++) {
      const n = shown.events[i];
      const row = el("div", { className: `event ${log.data.kinds[log.kind[n]]}` });
      row.dataset.at = n;
      if (n === this.at) row.classList.add("now");
      if (log.data.wrong?.at === n) row.classList.add("wrong");
      if (log.otherwise.has(n)) row.classList.add("otherwise");
      const time = log.data.answers[n] === -2 ? "" : log.t[n].toFixed(6);
      row.append(
        el("span", { className: "seq" }, String(log.seq(n))),
        el("span", { className: "time" }, time),
        el("span", { className: "says", title: log.says(n) }, log.says(n)),
      );
      nodes.push(row);
    }
    this.rows.replaceChildren(...nodes);
  }
}

class StateTable {
  constructor(log, shown) {
    Object.assign(this, { log, shown });
    this.title = el("h2");
    this.said = el("p", { className: "said" });
    this.body = el("tbody");
    const head = el("tr", {}, el("th", {}, "vCPU"), ...log.data.columns.map((name) => el("th", {}, name)));
    $("state").append(this.title, this.said, el("table", {}, el("thead", {}, head), this.body));
    this.drawn = [];
  }

  // One row of the table for each vCPU that is shown; a row is written anew where it changed.
  show(at) {
    const { log } = this, rows = log.rowsAt(at), changed = log.changedBy(at);
    const machine = log.data.machines[rows[0]];
    this.title.textContent = at < 0 ? `Before: the machine is ${machine}` : `After event ${log.seq(at)}: the machine is ${machine}`;
    this.title.classList.toggle("changed", changed.has(-1));
    this.said.textContent = this.words(at);
    const vcpus = this.shown.lanes.filter((lane) => lane >= 2).map((lane) => lane - 2);
    while (this.body.rows.length > vcpus.length) { this.body.deleteRow(-1); this.drawn.pop(); }
    vcpus.forEach((vcpu, i) => {
      const key = `${vcpu} ${rows[vcpu + 1]} ${changed.has(vcpu)}`;
      if (this.drawn[i] === key) return;
      this.drawn[i] = key;
      const cells = [String(vcpu), ...log.data.rows[rows[vcpu + 1]]].map((text) => el("td", {}, text));
      const row = el("tr", { className: changed.has(vcpu) ? "changed" : "" }, ...cells);
      if (i < this.body.rows.length) this.body.rows[i].replaceWith(row); else this.body.append(row);
    });
  }

  words(at) {
    const { log } = this, out = [];
    if (at >= 0) {
      out.push(log.says(at));
      const answers = log.answers(at);
      if (answers) out.push(`answers ${answers}`);
      if (log.otherwise.has(at)) out.push(`decided otherwise now: ${log.otherwise.get(at)}`);
      if (log.data.wrong?.at === at) out.push(`wrong: ${log.data.wrong.invariant}: ${log.data.wrong.says}`);
    }
    return out.join(" · ");
  }
}
