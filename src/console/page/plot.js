// A plot of the last minutes: one line or bars, its newest value in figures, and what the pointer is over.

import { h, s } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 44;
const BAR = 10; // Seconds in one bar.

/** The next round number: 1, 2 or 5 with zeros. */
function ceiling(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * [1, 2, 5, 10].find((step) => step * power >= wanted * 0.9999);
}

export class Plot {
  /** `label` in words; `format` writes a value; `least` is the smallest scale; `smooth` the samples of a mean. */
  constructor({ label, format, least, bars = false, smooth = 1, tone = "" }) {
    Object.assign(this, { label, format, least, bars, smooth });
    this.value = h("b", { class: "value" }, "–");
    this.scale = h("span", { class: "scale" });
    this.line = s("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    this.area = s("path", { class: "area" });
    this.cursor = s("line", { class: "cursor", y1: 0, y2: HEIGHT, "vector-effect": "non-scaling-stroke", visibility: "hidden" });
    const shape = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" };
    this.picture = s("svg", shape, s("line", { class: "floor", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }), this.area, this.line, this.cursor);
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", () => this.unpoint());
    this.element = h("figure", { class: `plot ${tone}` }, h("figcaption", {}, h("span", {}, label), this.scale), this.value, this.picture);
  }

  /** Draws points (second, value or null) that end now. */
  update(points, now, seconds) {
    this.points = this.bars ? gathered(points) : means(points, this.smooth);
    [this.now, this.seconds] = [now, seconds];
    const values = this.points.map(([, value]) => value).filter((value) => value !== null);
    this.top = ceiling(Math.max(0, ...values), this.least);
    const x = (at) => WIDTH * (1 - (now - at) / seconds);
    const y = (value) => HEIGHT - 1 - (HEIGHT - 3) * Math.min(1, value / this.top);
    const f = (number) => number.toFixed(1);
    let [line, area, run] = ["", "", null];
    const end = () => {
      if (run) area += `M${f(run[0])} ${HEIGHT}${run[2]}L${f(run[1])} ${HEIGHT}Z`;
      run = null;
    };
    for (const [at, value] of this.points) {
      if (this.bars) {
        const left = f(x(at) + 0.5);
        if (value) area += `M${left} ${HEIGHT}V${f(Math.min(y(value), HEIGHT - 3))}H${f(x(at + BAR) - 0.5)}V${HEIGHT}Z`;
        continue;
      }
      // A gap where nothing is known.
      if (run && (value === null || at - run[3] > 5)) end();
      if (value === null) continue;
      const place = `${f(x(at))} ${f(y(value))}`;
      line += `${run ? "L" : "M"}${place}`;
      run = [run ? run[0] : x(at), x(at), `${run ? run[2] : ""}L${place}`, at];
    }
    end();
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    this.scale.textContent = values.length ? `max ${this.format(Math.max(...values))}` : "";
    this.newest = this.points.at(-1)?.[1] ?? null;
    this.sum = points.reduce((sum, [, value]) => sum + (value ?? 0), 0);
    if (this.pointed === undefined) this.tell();
    const most = values.length ? this.format(Math.max(...values)) : "nothing known";
    const minutes = Math.round(seconds / 60);
    const words = this.bars ? `${this.format(this.sum)} in the last ${minutes} minutes` : `now ${this.format(this.newest)}, at most ${most} in the last ${minutes} minutes`;
    this.picture.setAttribute("aria-label", `${this.label}: ${words}`);
  }

  tell() {
    this.value.textContent = this.format(this.bars ? this.sum : this.newest);
  }

  point(event) {
    if (!this.points) return;
    const box = this.picture.getBoundingClientRect();
    const at = this.now - this.seconds * (1 - (event.clientX - box.left) / box.width);
    const near = this.points.findLast(([second]) => second <= at);
    if (!near || at - near[0] > 2 * BAR) return this.unpoint();
    this.pointed = near[0];
    const x = WIDTH * (1 - (this.now - at) / this.seconds);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) this.cursor.setAttribute(name, value);
    const clock = new Date(near[0] * 1000).toISOString().slice(11, 19);
    this.value.replaceChildren(this.format(near[1]), h("span", { class: "at" }, ` at ${clock}`));
  }

  unpoint() {
    this.pointed = undefined;
    this.cursor.setAttribute("visibility", "hidden");
    if (this.points) this.tell();
  }
}

/** The mean of each value and those before it: one second alone jumps about. */
function means(points, size) {
  if (size === 1) return points;
  const known = [];
  return points.map(([at, value]) => {
    if (value === null) return [at, null];
    known.push(value);
    if (known.length > size) known.shift();
    return [at, known.reduce((sum, one) => sum + one, 0) / known.length];
  });
}

/** The sums of ten seconds each. */
function gathered(points) {
  const sums = new Map();
  for (const [at, value] of points) {
    const from = Math.floor(at / BAR) * BAR;
    sums.set(from, (sums.get(from) ?? 0) + (value ?? 0));
  }
  return [...sums];
}

/** The states of the last minutes as a band. */
export class Band {
  constructor(states) {
    this.states = states;
    this.picture = s("svg", { class: "band", viewBox: `0 0 ${WIDTH} 6`, preserveAspectRatio: "none", role: "img" });
    this.element = this.picture;
  }

  update(points, now, seconds) {
    const runs = [];
    for (const [at, state] of points) {
      const last = runs.at(-1);
      if (last && last.state === state && at - last.to <= 5) last.to = at;
      else runs.push({ state, from: at, to: at });
    }
    const x = (at) => WIDTH * (1 - (now - at) / seconds);
    this.picture.replaceChildren(...runs.map((run) => {
      const from = Math.max(0, x(run.from - 1));
      return s("rect", { class: this.states(run.state), x: from, y: 0, height: 6, width: Math.max(0.6, x(run.to) - from) });
    }));
    const held = runs.filter((run) => run.state && run.state !== "flowing").length;
    this.picture.setAttribute("aria-label", held ? `it did not flow ${held === 1 ? "once" : `${held} times`} in this time` : "it flowed all this time");
  }
}
