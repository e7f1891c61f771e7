// The page "Now": the instances, and a card for each target.

import { announce, h, set, shown, sign, tone } from "./dom.js";
import { badness, CAUSES, Headline } from "./headline.js";
import { ask } from "./net.js";
import { Band, Plot } from "./plot.js";
import { between, count, of, rate, seconds, short, span, time } from "./words.js";

export class NowPage {
  constructor(known) {
    this.known = known;
    this.headline = new Headline();
    this.cards = new Map();
    this.after = null;
    this.instances = h("ul", { class: "instances", "aria-label": "Instances" });
    this.grid = h("div", { class: "cards" });
    this.element = h("section", { "aria-label": "Now" }, this.headline.element, this.instances, this.grid);
  }

  /** How often it is asked anew, in milliseconds. */
  period = 1000;

  async update() {
    const page = await ask(this.after === null ? "now" : `now?after=${this.after}`);
    const { now, kept } = page;
    set(this.instances, [page.instances, now.slice(0, 19)], page.looked ? instances(page) : h("li", {}, "looking for the instances …"));
    for (const target of page.targets) {
      let card = this.cards.get(target.name);
      if (!card) {
        card = new Card(target);
        this.cards.set(target.name, card);
        this.grid.append(card.element);
      }
      card.update(target, now, kept, page, this.known.open);
      this.after = Math.max(this.after ?? 0, ...target.samples.map(([at]) => at));
    }
    this.headline.update(page, this.known.open);
    this.sort(page.targets);
  }

  /** What is broken comes first; cards move only if that changes, so that the focus stays. */
  sort(targets) {
    const sorted = targets.toSorted((one, other) => badness(other) - badness(one));
    const cards = sorted.map(({ name }) => this.cards.get(name).element);
    if (cards.every((card, at) => this.grid.children[at] === card)) return;
    const focused = document.activeElement;
    this.grid.replaceChildren(...cards);
    if (this.grid.contains(focused)) focused.focus();
  }
}

function instances({ instances, now }) {
  if (!instances.length) {
    return h("li", { class: "failed" }, sign("failed"), " no instance is known: name the admin endpoints in [console] instances");
  }
  return instances.map((instance) => {
    const name = h("b", {}, shown(instance.id ?? instance.address));
    if (instance.answers && instance.without_kafka) return h("li", { class: "failed" }, sign("failed"), name, h("span", {}, "without Kafka"));
    if (instance.answers) {
      const title = `${instance.address} answers since ${instance.since}`;
      return h("li", { class: "flowing", title }, sign("flowing"), name, h("span", {}, shown(instance.version), " · ", count(instance.milliseconds), " ms"));
    }
    if (!instance.error) return h("li", { class: "unknown" }, sign("unknown"), name, h("span", {}, "not asked yet"));
    const words = `does not answer since ${time(instance.since, now)} (${span(between(instance.since, now))}): `;
    return h("li", { class: "failed" }, sign("failed"), name, h("span", {}, words, shown(instance.error)));
  });
}

class Card {
  constructor({ name, api }) {
    this.samples = [];
    this.title = h("h2", {}, shown(name));
    this.kind = h("span", { class: "kind" }, api === name ? "" : (api ?? "records that no target takes"));
    this.state = h("p", { class: "state" });
    this.error = h("p", { class: "error" });
    this.figures = h("dl", { class: "figures" });
    const path = encodeURIComponent(name);
    this.letters = h("a", { href: `#letters?target=${path}` });
    this.ways = h("p", { class: "ways" }, this.letters, api === null ? null : h("a", { href: `#user/${path}` }, "look up a user"));
    this.apart = h("p", { class: "apart" });
    this.calls = api !== null;
    this.plots = [
      this.calls && [1, new Plot({ label: "delivered / s", format: rate, least: 1, smooth: 5 })],
      [2, new Plot({ label: "dead letters, 10 min", format: count, least: 1, bars: true, tone: "dead" })],
      this.calls && [3, new Plot({ label: "call p99", format: seconds, least: 0.01 })],
      [4, new Plot({ label: "outcome p99", format: seconds, least: 0.1 })],
    ].filter(Boolean);
    this.band = new Band((state) => (state === null ? "unknown" : tone(state)));
    const plots = h("div", { class: "plots" }, this.plots.map(([, plot]) => plot.element));
    const axis = h("p", { class: "axis", "aria-hidden": "true" }, h("span", {}, "10 min ago"), h("span", {}, "now"));
    this.element = h("article", { class: "card" }, h("header", {}, this.title, this.kind), this.state, this.error, this.figures, this.ways, this.apart, plots, this.band.element, axis);
  }

  update(target, now, kept, page, open) {
    // Two questions may be under way at once, and both answers bring the same.
    const last = this.samples.at(-1)?.[0] ?? -Infinity;
    this.samples.push(...target.samples.filter(([at]) => at > last));
    this.samples = this.samples.slice(-kept);
    const stranded = target.without_kafka_since;
    const state = target.state === null ? "unknown" : stranded ? "failed" : tone(target.state);
    const probe = target.next_probe_at ? Math.max(0, between(now, target.next_probe_at)) : null;
    set(this.state, [stranded, target.state, target.cause, target.since, now.slice(0, 19), page.instances.length], ...stateWords(target, state, now, probe, page));
    const error = target.state === "flowing" ? null : target.last_error;
    set(this.error, error, error ? shown(error) : "");
    this.error.hidden = !error;
    set(this.figures, [target.partitions, target.lag, target.waiting, target.in_flight, target.limit, Math.round(target.oldest_seconds)], figures(target, this.calls));
    const dead = open?.[target.name] ?? 0;
    set(this.letters, open ? dead : null, open ? of(dead, "open dead letter", "open dead letters") : "dead letters");
    const differ = new Set(target.instances.map((one) => one.state)).size > 1;
    set(this.apart, differ ? target.instances : null, differ ? target.instances.map((one) => h("span", { class: tone(one.state) }, sign(one.state), shown(one.id), " ", shown(one.state))) : "");
    this.apart.hidden = !differ;
    if (this.element.dataset.state && this.element.dataset.state !== state && target.state) {
      announce(stranded ? `${target.name} is without Kafka` : state === "flowing" ? `${target.name} flows again` : `${target.name} is ${state}: ${CAUSES[target.cause] ?? ""}`);
    }
    this.element.dataset.state = state;
    this.element.toggleAttribute("data-late", state === "flowing" && badness(target) > 0);
    const end = Math.floor(Date.parse(now) / 1000);
    const column = (at) => this.samples.map((sample) => [sample[0], sample[at]]);
    for (const [at, plot] of this.plots) plot.update(column(at), end, kept);
    this.band.update(column(6), end, kept);
  }
}

function stateWords(target, state, now, probe, { instances, looked }) {
  if (target.state === null) {
    const why = !looked ? "looking …" : instances.some((one) => one.answers) ? "no instance that answers runs it" : "no instance answers";
    return [sign("unknown"), h("b", {}, "unknown"), h("span", {}, why)];
  }
  if (target.without_kafka_since) {
    const from = target.without_kafka_since;
    return [sign("failed"), h("b", {}, "without Kafka"), h("span", { title: from }, `since ${time(from, now)}`, h("i", {}, ` ${span(between(from, now))}`)), h("span", {}, "to its API it was ", shown(target.state))];
  }
  const since = h("span", { title: target.since }, `since ${time(target.since, now)}`, h("i", {}, ` ${span(between(target.since, now))}`));
  if (state === "flowing") return [sign(state), h("b", {}, "flowing"), since];
  const cause = h("span", { class: "cause" }, CAUSES[target.cause] ? `${target.cause}: ${CAUSES[target.cause]}` : shown(target.cause));
  const next = probe === null ? null : h("span", {}, state === "probing" ? "one call tries now" : `next try in ${span(probe)}`);
  return [sign(state), h("b", {}, shown(target.state)), since, next, cause];
}

function figures(target, calls) {
  const pair = (label, title, ...value) => h("div", { title }, h("dt", {}, label), h("dd", {}, value));
  return [
    // Lag is that of the owned partitions: where there are none, it says nothing.
    target.partitions === 0 ? h("div", { class: "failed" }, h("dt", {}, "partitions"), h("dd", {}, sign("failed"), " 0 owned")) : pair("partitions", "partitions of the update topic that these instances own", count(target.partitions)),
    pair("waiting", "this target's updates in memory that wait for a call", count(target.waiting)),
    calls && pair("in flight", "calls under way, and how many may be", count(target.in_flight), target.limit === null ? "" : h("small", {}, ` of ${count(target.limit)}`)),
    pair("behind by", "records of the update topic from the lowest that is not settled to the end, those for other targets among them", count(target.lag)),
    pair("oldest", "the age of the oldest update in memory that is not settled", target.oldest_seconds >= 1 ? short(target.oldest_seconds) : "–"),
  ];
}
