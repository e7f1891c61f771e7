// The first lines of the page "Now": what is wrong, who waits and for how long, and what to do.

import { h, set, shown, sign } from "./dom.js";
import { between, count, of, span } from "./words.js";

export const CAUSES = {
  unreachable: "the API cannot be reached",
  unauthorized: "the API refuses the credentials",
  fault: "something else than the API answers",
  throttled: "the API asked for a pause",
  paused: "an operator has paused it",
  guard: "many users would lose something",
};

const TO_DO = {
  unreachable: "Is the API up, and can the instances reach it? It goes on by itself.",
  unauthorized: "Write the right credentials into their file: they are taken up at once.",
  fault: "Look at the error below: a proxy, a login page or another server may answer at this address.",
  throttled: "Nothing to do, unless it lasts: then lower rate_limit or max_concurrency.",
  paused: "Take paused out of its configuration when it may go on.",
  guard: "See below who sent it and what it takes away, then allow it or refuse it in the configuration.",
};

/** An update that waits longer than this, in seconds, at an API that works, is worth a line. */
const LONG = 300;

/** How bad a target is: the worst comes first. */
export function badness(target) {
  if (target.without_kafka_since) return 4;
  const known = { holding: 3, probing: 3, flowing: target.oldest_seconds > LONG ? 1 : 0 };
  return known[target.state] ?? 2;
}

export class Headline {
  constructor() {
    this.lines = new Map();
    this.element = h("ul", { class: "headline", "aria-label": "In short" });
  }

  update(page, open) {
    const { targets, instances, looked } = page;
    const bad = targets.filter((target) => badness(target) > 0).sort((one, other) => badness(other) - badness(one));
    const unknown = targets.every(({ state }) => state === null);
    const lines = unknown ? [["", ...nobody(instances, looked)]] : bad.map((target) => [target.name, ...wrong(target, page)]);
    if (!lines.length) lines.push(["", "flowing", allWell(targets)]);
    const dead = open && Object.values(open).reduce((one, other) => one + other, 0);
    const words = [of(dead, "dead letter is open", "dead letters are open"), ": "];
    if (dead) lines.push(["letters", "unknown", words, ["#letters", "look at them"]]);
    const wanted = lines.map((line) => this.line(...line));
    if (wanted.length !== this.element.children.length || wanted.some((line, at) => this.element.children[at] !== line)) {
      this.element.replaceChildren(...wanted);
    }
  }

  /** The line of that name: it stays the same element, so that its link keeps the focus. */
  line(name, tone, words, way) {
    if (!this.lines.has(name)) {
      const [mark, text, link] = [h("span"), h("span"), h("a")];
      this.lines.set(name, { mark, text, link, line: h("li", {}, mark, h("p", {}, text, link)) });
    }
    const { mark, text, link, line } = this.lines.get(name);
    link.hidden = !way;
    if (way) link.setAttribute("href", way[0]);
    set(link, way?.[1] ?? "", way ? shown(way[1]) : null);
    line.className = tone;
    set(mark, tone, sign(tone));
    const flat = [words].flat(Infinity).filter(Boolean);
    set(text, flat.map((word) => word.textContent ?? word), flat);
    return line;
  }
}

function nobody(instances, looked) {
  if (!looked) return ["unknown", "Looking for the instances …"];
  if (!instances.length) return ["failed", "No instance is known: name the admin endpoints in [console] instances."];
  return ["failed", "No instance answers, so what the targets do is not known. Do they run, and can this console reach them?"];
}

/** How much waits, and for how long. */
function waits({ waiting, lag, oldest_seconds: oldest }) {
  const behind = lag > waiting ? ` (behind by ${of(lag, "record", "records")})` : "";
  if (!waiting && !(oldest >= 1)) return behind ? `It is behind by ${of(lag, "record", "records")}. ` : "";
  const since = oldest >= 1 ? `, the oldest for ${span(oldest)}` : "";
  return `${of(waiting, "update waits", "updates wait")}${behind}${since}; none is lost. `;
}

function wrong(target, { now }) {
  const name = h("b", {}, shown(target.name));
  if (target.without_kafka_since) {
    return ["failed", [name, ` has been without Kafka for ${span(between(target.without_kafka_since, now))}. `, waits(target)]];
  }
  if (target.state === null) return ["unknown", [name, ": no instance that answers runs it."]];
  if (target.state === "flowing") {
    const waited = ` works, yet an update has waited for ${span(target.oldest_seconds)}; `;
    const words = [name, waited, of(target.waiting, "update waits", "updates wait"), ". "];
    if (!target.last_error) return ["probing", [words, "More comes in than goes out, or a user's calls fail."]];
    words.push("The last call that failed: ", shown(target.last_error), ". ");
    const user = /\(user (.+), record [^ ]+\)$/.exec(target.last_error)?.[1];
    const path = user && `#user/${encodeURIComponent(target.name)}/${encodeURIComponent(user)}`;
    return ["probing", words, user && [path, `what waits for user ${user}`]];
  }
  const probe = target.next_probe_at ? between(now, target.next_probe_at) : 0;
  const next = target.cause === "paused" ? "" : probe >= 1 ? `Next try in ${span(probe)}. ` : "One call tries now. ";
  const cause = CAUSES[target.cause] ?? target.cause;
  const held = ` has not delivered for ${span(between(target.since, now))}: ${cause}. `;
  return ["holding", [name, held, waits(target), next, TO_DO[target.cause] ?? ""]];
}

function allWell(targets) {
  const waiting = targets.reduce((sum, target) => sum + (target.waiting ?? 0), 0);
  const oldest = Math.max(0, ...targets.map((target) => target.oldest_seconds ?? 0));
  const since = oldest >= 1 ? `, the oldest for ${span(oldest)}` : "";
  return `Nothing is stuck: every target delivers; ${waiting ? of(waiting, "update waits", "updates wait") + since : "no update waits"}.`;
}
