// A log as hpcore.show.timeline wrote it, and the state at any of its events.
const EVERY = 512; // events between two states that are kept whole

class Log {
  constructor(data) {
    this.data = data;
    this.count = data.says.length;
    this.lanes = data.lanes.length;
    this.t = new Float64Array(this.count);
    let t = 0;
    data.t.forEach((step, n) => { t += step; this.t[n] = t / 1e6; });
    this.lane = Uint16Array.from(data.lane);
    this.kind = Uint8Array.from(data.kind);
    this.guestKind = data.kinds.indexOf("guest");
    this.keepStates();
    this.sortIntoLanes();
    this.otherwise = new Map(data.otherwise.map((other) => [other.at, other.now]));
  }

  // Rows by event: changesAt[n] is where those of event n begin.
  keepStates() {
    const changes = this.data.changes, size = this.data.start.length;
    this.changesAt = new Uint32Array(this.count + 1);
    this.kept = [];
    const rows = Int32Array.from(this.data.start);
    let c = 0;
    for (let n = 0; n < this.count; n++) {
      if (n % EVERY === 0) this.kept.push(rows.slice());
      this.changesAt[n] = c;
      for (; c < changes.length && changes[c] === n; c += 3) rows[changes[c + 1] + 1] = changes[c + 2];
    }
    this.changesAt[this.count] = c;
    if (!this.count) this.kept.push(rows.slice());
    this.size = size;
  }

  // The rows after event `at`: the machine's, then each vCPU's. -1 is before the first event.
  rowsAt(at) {
    if (at < 0) return Int32Array.from(this.data.start);
    const from = Math.floor(at / EVERY);
    const rows = this.kept[from].slice();
    const { changes } = this.data;
    for (let c = this.changesAt[from * EVERY]; c < this.changesAt[at + 1]; c += 3) {
      rows[changes[c + 1] + 1] = changes[c + 2];
    }
    return rows;
  }

  changedBy(at) {
    const out = new Set();
    if (at < 0) return out;
    for (let c = this.changesAt[at]; c < this.changesAt[at + 1]; c += 3) out.add(this.data.changes[c + 1]);
    return out;
  }

  // The guest's own lane has what it did about each vCPU, too.
  sortIntoLanes() {
    const marks = Array.from({ length: this.lanes }, () => []);
    for (let n = 0; n < this.count; n++) {
      marks[this.lane[n]].push(n);
      if (this.kind[n] === this.guestKind && this.lane[n] !== 1) marks[1].push(n);
    }
    this.marks = marks;
    this.bars = Array.from({ length: this.lanes }, () => []);
    for (const [lane, row, says, begin, end, failed] of this.data.bars) {
      this.bars[lane].push({ lane, row, says, begin, end, failed });
    }
  }

  says(at) { return this.data.texts[this.data.says[at]]; }
  seq(at) { return this.data.first + at; }
  vcpu(at) { return this.lane[at] - 2; }

  // The first event of the decision that event `at` belongs to, and of the next one.
  decisionOf(at) { while (at > 0 && this.data.answers[at] === -2) at--; return at; }
  nextDecision(at) {
    do at++; while (at < this.count - 1 && this.data.answers[at] === -2);
    return Math.min(at, this.count - 1);
  }

  answers(at) {
    const found = this.data.answers[this.decisionOf(at)];
    return found >= 0 ? this.data.stimuli[found] : null;
  }
}
