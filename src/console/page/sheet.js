// A sheet: what the commands tell, in sections. And the jobs that read it.

import { h, s, shown, tick, told } from "./dom.js";
import { ask } from "./net.js";
import { count } from "./words.js";

/** The sections of a sheet as elements. `link` may make something else than text of a cell. */
export function sheet({ title, meaning, sections }, link = () => null) {
  return h("div", { class: "sheet" }, h("h3", { class: "mono" }, shown(title)), meaning ? h("p", { class: "soft" }, shown(meaning)) : null, inOrder(sections).map((one) => section(one, link)));
}

/** What a record carried along comes last: few ask for it. */
function inOrder(sections) {
  return sections.toSorted((one, other) => Number(one.name === "headers") - Number(other.name === "headers"));
}

// A command that this page's own links do instead is left out.
function section({ name, lines, verbatim, table, after }, link) {
  const words = verbatim ? [h("pre", { tabindex: 0, "aria-label": name }, shownLines(lines))] : lines.map((line) => h("p", {}, told(line)));
  return h("section", {}, h("h4", {}, told(name)), words, table ? rows(table, name, link) : null, after.filter((line) => !line.startsWith("`user-courier dead-letters show")).map((line) => h("p", { class: "soft" }, told(line))));
}

function shownLines(lines) {
  return lines.flatMap((line, at) => (at ? ["\n", shown(line)] : [shown(line)]));
}

function rows({ head, rows }, name, link) {
  const numbers = head.map((column) => column.startsWith(">"));
  const cell = (value, column) => h("td", { class: numbers[column] ? "number" : "", "data-label": head[column].replace(/^>/, "") }, link(name, head[column], value) ?? told(value));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
    h("table", {}, h("thead", {}, h("tr", {}, head.map((column, at) => h("th", { scope: "col", class: numbers[at] ? "number" : "" }, column.replace(/^>/, ""))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))));
}

/** Shows how far a job is. */
export class Meter {
  constructor() {
    this.bar = h("progress", { max: 1 });
    this.words = h("span", {}, "one moment …");
    this.element = h("p", { class: "meter" }, this.bar, this.words);
  }

  update(progress) {
    if (!progress) return;
    const { what, done, steps } = progress;
    this.bar.value = steps ? done / steps : 0;
    this.words.textContent = `${what}: ${count(done)} of ${count(steps)}`;
  }
}

/** Asks about a job until `update` says that it has seen enough. */
export async function watch(id, update) {
  for (;;) {
    const job = await ask(`jobs/${id}`);
    if (update(job)) return job;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/** Reads a sheet into an element, with a meter until it is there. */
export async function read(what, place, link, before = null) {
  const meter = new Meter();
  place.replaceChildren(meter.element);
  place.setAttribute("aria-busy", "true");
  try {
    const { job: id } = await ask("read", what);
    const { state, result } = await watch(id, ({ state, progress }) => {
      meter.update(progress);
      return state === "done" || state === "failed" || !place.isConnected;
    });
    if (state === "done") {
      place.replaceChildren(...[before, h("p", { class: "soft" }, "read ", told(new Date().toISOString())), sheet(result, link)].filter(Boolean));
      tick(new Date().toISOString());
    }
    if (state === "failed") place.replaceChildren(problem(result));
  } catch (error) {
    place.replaceChildren(problem(error.message));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** What has gone wrong, in words. */
export function problem(words) {
  return h("p", { class: "problem", role: "alert" }, shown(words));
}

/** A bar whose length says how much of the whole. */
export function share(part, whole) {
  const width = whole ? Math.max(part ? 1.5 : 0, (100 * part) / whole) : 0;
  return s("svg", { class: "share", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "of", width: 100, height: 6 }), s("rect", { width, height: 6 }));
}
