// The page "Dead letters": a filter, how many there are of each kind, and their rows. A row opens into all that is known of it.

import { h, moment, s, set, shown, tick } from "./dom.js";
import { ask } from "./net.js";
import { Replay } from "./replay.js";
import { Meter, problem, read, share } from "./sheet.js";
import { count, of } from "./words.js";

const FIELDS = ["target", "reason", "user", "since", "until"];

export class LettersPage {
  constructor(known) {
    this.known = known;
    this.ticked = new Set();
    this.rows = new Map();
    this.back = [];
    this.before = "";
    this.seen = null;
    this.unknown = [];
    const option = (name) => h("option", { value: name }, name);
    const input = (name, hint, size) => h("input", { id: `filter-${name}`, placeholder: hint, size, autocomplete: "off", maxlength: 40 });
    this.inputs = {
      target: h("select", { id: "filter-target" }, h("option", { value: "" }, "any"), known.targets.map(option)),
      reason: h("select", { id: "filter-reason" }, h("option", { value: "" }, "any"), known.reasons.map(option)),
      user: input("user", "any", 10),
      since: input("since", "2h, 3d, 2026-11-22", 17),
      until: input("until", "now", 17),
      all: h("input", { id: "filter-all", type: "checkbox" }),
    };
    const labels = { target: "target", reason: "reason", user: "user", since: "dead-lettered since", until: "until" };
    const field = (name) => h("label", { for: `filter-${name}` }, h("span", {}, labels[name]), this.inputs[name]);
    const form = h("form", { class: "filter", role: "search", "aria-label": "Dead letters", onsubmit: (event) => event.preventDefault(), onchange: () => this.filtered(), oninput: () => this.typed() },
      FIELDS.map(field), h("label", { class: "check", for: "filter-all" }, this.inputs.all, h("span", {}, "also those settled")), h("button", { type: "button", onclick: () => this.clear() }, "Clear"));
    this.meter = new Meter();
    this.state = h("div", { class: "state-line" });
    this.total = h("p", { class: "total", role: "status" });
    this.times = h("div", { class: "times" });
    this.reasons = h("div", { class: "bars", role: "group", "aria-label": "By reason" });
    this.targets = h("div", { class: "bars", role: "group", "aria-label": "By target" });
    this.actions = h("div", { class: "actions" });
    this.body = h("tbody");
    this.every = h("input", { type: "checkbox", "aria-label": "Tick all rows of this page", onchange: () => this.tickAll() });
    const head = ["dead-lettered", "target", "user", "reason", "status", "fields", "error", "state"];
    this.table = h("table", { class: "letters" }, h("caption", { class: "unseen" }, "Dead letters, the latest first"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "tick" }, this.every), head.map((name) => h("th", { scope: "col" }, name)))), this.body);
    this.paging = h("div", { class: "paging" });
    const keys = h("p", { class: "keys soft" }, h("kbd", {}, "/"), " filter ", h("kbd", {}, "↑"), h("kbd", {}, "↓"), " rows ", h("kbd", {}, "Enter"), " opens ", h("kbd", {}, "x"), " ticks ", h("kbd", {}, "p"), " plan");
    this.element = h("section", { "aria-label": "Dead letters" }, form, this.state, this.total, h("div", { class: "overview" }, this.times, this.reasons, this.targets), this.actions, this.table, this.paging, keys);
  }

  period = 1500;

  /** For the key `/`. */
  get search() {
    return this.inputs.user;
  }

  enter(path) {
    const asked = new URLSearchParams(path.split("?")[1] ?? "");
    for (const name of FIELDS) {
      const [value, input] = [asked.get(name) ?? "", this.inputs[name]];
      // One that is unknown here is asked for all the same, and refused: left out, it would take everything.
      if (input.options && ![...input.options].some((option) => option.value === value)) input.append(h("option", { value }, shown(value)));
      input.value = value;
    }
    this.inputs.all.checked = asked.has("all");
    this.unknown = [...asked].filter(([name]) => !FIELDS.includes(name) && name !== "all" && name !== "open");
    this.opening = asked.get("open");
    [this.back, this.before, this.seen] = [[], "", null];
  }

  /** What was typed, for the console and for the address. */
  get filter() {
    const filter = Object.fromEntries(FIELDS.map((name) => [name, this.inputs[name].value.trim()]).filter(([, value]) => value).concat(this.unknown));
    if (this.inputs.all.checked) filter.all = true;
    return filter;
  }

  typed() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.filtered(), 300);
  }

  filtered() {
    clearTimeout(this.waiting);
    const query = new URLSearchParams(this.filter).toString();
    history.replaceState(null, "", query ? `#letters?${query}` : "#letters");
    [this.back, this.before, this.seen] = [[], "", null];
    this.ticked.clear();
    this.update();
  }

  clear() {
    for (const name of FIELDS) this.inputs[name].value = "";
    this.inputs.all.checked = false;
    this.unknown = [];
    this.filtered();
  }

  choose(name, value) {
    this.inputs[name].value = this.inputs[name].value === value ? "" : value;
    this.filtered();
  }

  async update() {
    const query = new URLSearchParams(this.filter);
    if (this.before) query.set("before", this.before);
    if (this.seen !== null) query.set("seen", this.seen);
    const asked = query.toString();
    this.asking = asked;
    let answer;
    try {
      answer = await ask(`letters?${asked}`);
    } catch (error) {
      if (error.status !== 400) throw error;
      if (this.asking === asked) this.refused(error.message);
      return;
    }
    // An answer that comes after a newer question is of no interest.
    if (this.asking !== asked) return;
    this.tellState(answer);
    if (answer.list) this.show(answer.list);
    // Kafka comes and goes also while the list stays as it is.
    else if (this.list) this.offer();
  }

  /** What the list before said does not hold for this filter: nothing of it may be planned. */
  refused(words) {
    this.list = null;
    set(this.state, words, problem(words));
    this.total.replaceChildren();
    set(this.actions, "refused", null);
  }

  tellState({ reading: { progress, failure } }) {
    if (progress) this.meter.update(progress);
    const words = failure ? problem(`No answer from Kafka since ${failure.since.slice(0, 19).replace("T", " ")} UTC: ${failure.words}. It is tried again by itself; this list may be out of date.`) : progress ? this.meter.element : null;
    set(this.state, failure ? failure.words : progress ? "meter" : "", words);
  }

  show(list) {
    this.seen = list.version;
    this.list = list;
    const kind = this.inputs.all.checked ? "" : "open ";
    const notes = [
      list.outcomes_read ? null : " (which of them were settled is not known yet)",
      list.forgotten ? `; the oldest ${count(list.forgotten)} are left out here, the commands have them` : null,
      list.strangers ? `; ${of(list.strangers, "record is no dead letter", "records are no dead letters")} of this service` : null,
    ];
    this.total.replaceChildren(h("b", {}, count(list.total)), ` ${kind}${list.total === 1 ? "dead letter" : "dead letters"}`, h("span", { class: "soft" }, notes.filter(Boolean).join("")));
    set(this.times, list.times, list.times && list.total > 1 ? times(list.times) : "");
    set(this.reasons, [list.reasons, this.inputs.reason.value], this.bars("reason", list.reasons));
    set(this.targets, [list.targets, this.inputs.target.value], this.bars("target", list.targets));
    this.fill(list);
    this.table.hidden = !list.total;
    this.offer();
    tick(new Date().toISOString());
    const page = this.back.length + 1;
    set(this.paging, [page, list.next, list.total], list.total > 200
      ? [h("button", { type: "button", disabled: !this.back.length, onclick: () => this.turn(-1) }, "‹ newer"), h("span", {}, `page ${count(page)} of ${count(Math.ceil(list.total / 200))}`), h("button", { type: "button", disabled: !list.next, onclick: () => this.turn(1) }, "older ›")]
      : "");
  }

  turn(by) {
    if (by > 0) {
      this.back.push(this.before);
      this.before = this.list.next;
    } else {
      this.before = this.back.pop();
    }
    this.seen = null;
    this.update().then(() => this.table.scrollIntoView());
  }

  bars(name, counts) {
    const most = Math.max(1, ...Object.values(counts));
    const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
    return sorted.map(([value, number]) => h("button", { type: "button", "aria-pressed": String(this.inputs[name].value === value), onclick: () => this.choose(name, value) },
      h("span", { class: "name" }, shown(value)), share(number, most), h("b", {}, count(number))));
  }

  fill({ rows }) {
    const wanted = rows.map((row) => {
      const known = this.rows.get(row.place);
      if (known && known.settled === row.settled) return known;
      const made = known ?? new Row(row, this);
      made.tell(row);
      return made;
    });
    this.rows = new Map(wanted.map((row) => [row.place, row]));
    const places = wanted.flatMap((row) => row.elements);
    if (places.length !== this.body.children.length || places.some((element, at) => this.body.children[at] !== element)) {
      const focused = document.activeElement;
      this.body.replaceChildren(...places);
      if (focused !== document.activeElement && focused.isConnected) focused.focus();
    }
    for (const place of this.ticked) if (!this.rows.has(place)) this.ticked.delete(place);
    for (const row of wanted) row.tick.checked = this.ticked.has(row.place);
    const opening = this.opening && this.rows.get(this.opening);
    this.opening = null;
    if (opening && !opening.detail) opening.toggle();
  }

  offer() {
    const { ticked, list } = this;
    this.every.checked = ticked.size > 0 && ticked.size === list.rows.length;
    const chosen = ticked.size;
    const gone = this.known.kafka === "down";
    const title = gone ? "Kafka is gone: what would become of a replay cannot be told" : null;
    // Everything at once is the rarest wish, and the gravest.
    const wide = !chosen && !Object.keys(this.filter).length;
    const all = h("button", { type: "button", class: wide ? "main wide-open" : "main", title, hidden: !list.total, disabled: gone || !list.total, onclick: () => this.plan() }, chosen ? `Plan a replay of ${of(chosen, "ticked letter", "ticked letters")} …` : `Plan a replay of all ${count(list.total)} …`);
    const running = this.replay?.isRunning ? h("button", { type: "button", onclick: () => this.replay.open() }, "Show the replay that is under way") : null;
    set(this.actions, [chosen, list.total, Boolean(running), gone, wide], all, running);
  }

  plan(place) {
    if (!this.list?.total || this.known.kafka === "down") return;
    if (this.replay?.isRunning) return this.replay.open();
    const what = place ? { places: [place] } : this.ticked.size ? { places: [...this.ticked] } : { filter: this.filter };
    this.replay?.close();
    this.replay = new Replay(this.known, what, () => this.offer());
    this.replay.open();
  }

  tickAll() {
    for (const row of this.rows.values()) this.mark(row, this.every.checked);
  }

  mark(row, on) {
    if (on) this.ticked.add(row.place);
    else this.ticked.delete(row.place);
    row.tick.checked = on;
    this.offer();
  }

  /** A key that nobody else takes: from anywhere on the page the arrows lead to the rows. */
  key(event) {
    const rows = [...this.rows.values()];
    const row = rows.find((row) => row.line.contains(event.target));
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (step && rows.length) {
      const at = row ? rows.indexOf(row) + step : step > 0 ? 0 : rows.length - 1;
      rows[at]?.opener.focus();
      event.preventDefault();
    }
    if (!row) return;
    if (event.key === "x") this.mark(row, !this.ticked.has(row.place));
    if (event.key === "Escape" && row.detail) row.toggle();
  }
}

class Row {
  constructor(letter, page) {
    this.place = letter.place;
    this.tick = h("input", { type: "checkbox", "aria-label": `Tick ${letter.place}`, onchange: () => page.mark(this, this.tick.checked) });
    this.opener = h("button", { type: "button", class: "open", "aria-expanded": "false", onclick: () => this.toggle() }, moment(letter.failed_at));
    Object.assign(this, { page, letter });
    const user = letter.user && letter.target !== "unclaimed" ? h("a", { href: `#user/${encodeURIComponent(letter.target)}/${encodeURIComponent(letter.user)}` }, shown(letter.user)) : (letter.user ?? "–");
    this.mark = h("td", { class: "mark" });
    const cell = (name, ...content) => h("td", { class: name }, content);
    // Anywhere on the row, but not where something else is meant: a link, a button, or words that
    // are being marked.
    const click = (event) => event.target.closest("a, button, input") || String(getSelection()) || this.toggle();
    this.line = h("tr", { onclick: click }, cell("tick", this.tick), cell("at", this.opener), cell("target", shown(letter.target)), cell("user", user), cell("reason", letter.reason), cell("status", letter.status ?? "–"),
      cell("fields", letter.fields ? shown(letter.fields) : "–"), cell("words", shown(letter.words)), this.mark);
    this.elements = [this.line];
  }

  tell({ settled, replays }) {
    this.settled = settled;
    const state = settled === null ? "" : settled ? "settled" : "open";
    this.mark.replaceChildren(state, replays ? h("span", { class: "soft" }, ` ${replays}×`) : "");
    this.mark.title = replays ? `replayed ${of(replays, "time", "times")} before` : "";
    this.line.classList.toggle("settled", settled === true);
  }

  /** What one may do from here. */
  ways() {
    const { target, user } = this.letter;
    const path = encodeURIComponent(target);
    const replay = h("button", { type: "button", onclick: () => this.page.plan(this.place) }, "Plan a replay of this one …");
    const theirs = user && target !== "unclaimed" ? h("a", { href: `#user/${path}/${encodeURIComponent(user)}` }, "All of user ", shown(user), " at ", shown(target)) : null;
    const address = h("a", { href: `#letters?${new URLSearchParams({ ...this.page.filter, open: this.place })}` }, "Link to this letter");
    return h("p", { class: "ways" }, this.settled ? null : replay, theirs, address);
  }

  toggle() {
    if (this.detail) {
      this.detail.remove();
      this.detail = null;
      this.elements = [this.line];
    } else {
      const place = h("div", { class: "result" });
      this.detail = h("tr", { class: "detail" }, h("td", { colspan: 9 }, place));
      this.line.after(this.detail);
      this.elements = [this.line, this.detail];
      read({ letter: this.place }, place, undefined, this.ways());
    }
    this.opener.setAttribute("aria-expanded", String(Boolean(this.detail)));
  }
}

/** When they were dead-lettered, as bars. */
function times({ from, to, counts }) {
  const most = Math.max(...counts);
  const width = 300 / counts.length;
  const bar = (number, at) => number && s("rect", { x: at * width + 0.4, width: width - 0.8, y: 44 - Math.max(2, (42 * number) / most), height: Math.max(2, (42 * number) / most) });
  const words = `dead-lettered from ${from.slice(0, 19).replace("T", " ")} to ${to.slice(0, 19).replace("T", " ")} UTC, at most ${count(most)} in one bar`;
  return [
    s("svg", { class: "spread", viewBox: "0 0 300 44", preserveAspectRatio: "none", role: "img", "aria-label": words }, counts.map(bar)),
    h("p", { class: "axis", "aria-hidden": "true" }, h("span", {}, from.slice(0, 19).replace("T", " ")), h("span", {}, to.slice(0, 19).replace("T", " "), " UTC")),
  ];
}
