// The frame of the page: which part is shown, keeping it fresh, the token, and the keys.

import { field, h, set, shown, sign, tick } from "./dom.js";
import { LettersPage } from "./letters.js";
import { ask, hello, lock, Refused, unlock, whoever } from "./net.js";
import { NowPage } from "./now.js";
import { SendPage } from "./send.js";
import { problem } from "./sheet.js";
import { UserPage } from "./user.js";
import { between, count, span, time } from "./words.js";

const main = document.getElementById("main");
const alarm = document.getElementById("alarm");
const link = document.getElementById("link");
const banner = document.getElementById("kafka");

let known = null;
let pages = {};
let current = null;
let silentSince = null;
let timer = 0;

function show() {
  if (known.locked && !whoever()) return askToken();
  document.getElementById("parts").hidden = false;
  const [name] = (location.hash.slice(1) || "now").split(/[/?]/);
  const wanted = Object.hasOwn(pages, name) ? name : "now";
  for (const anchor of document.querySelectorAll("nav a")) {
    const here = anchor.hash === `#${wanted}`;
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
    if (here) document.title = `${anchor.firstChild.textContent.trim()} – user-courier`;
  }
  if (current !== pages[wanted]) {
    current = pages[wanted];
    main.replaceChildren(current.element);
  }
  current.enter?.(location.hash.slice(1));
  titled();
  refresh();
}

/** Asks for news now, and again after the page's period. */
async function refresh() {
  clearTimeout(timer);
  const page = current;
  try {
    if (!known) {
      await begin();
      // The part that is shown now has asked for news itself.
      if (current) return;
    }
    if (current) tell(await ask("kafka"));
    await current?.update();
    tick(known.now ?? new Date().toISOString());
    tellLink(null);
    tellLock();
  } catch (error) {
    tellLink(error);
  }
  if (page === current || !page) {
    clearTimeout(timer);
    timer = setTimeout(refresh, document.hidden ? 10000 : (current?.period ?? 1000));
  }
}

async function begin() {
  known = await hello();
  pages = { now: new NowPage(known), letters: new LettersPage(known), user: new UserPage(known), send: new SendPage(known) };
  show();
}

/** Away from loopback nothing is shown without the token. */
function askToken() {
  const name = h("input", { id: "operator", autocomplete: "username", maxlength: 40, required: true });
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const trouble = h("div");
  const enter = async (event) => {
    event.preventDefault();
    try {
      await unlock(name.value, token.value);
      show();
    } catch (error) {
      trouble.replaceChildren(problem(error.message));
    }
  };
  current = null;
  document.title = "user-courier";
  document.getElementById("parts").hidden = true;
  main.replaceChildren(h("h2", {}, "Sign in"), h("p", { class: "soft" }, "This console is reached from other machines, so it shows nothing without its token (console.token_file)."), h("form", { class: "filter", onsubmit: enter }, field("your name, for the log", name), field("token", token), h("button", { type: "submit", class: "main" }, "Sign in"), trouble));
  name.focus();
}

const HEADS = {
  part: "An instance has no Kafka: the others do its work.",
  stranded: "No instance has Kafka, though this console reaches it: nothing is delivered or settled. Updates wait in Kafka, and all goes on by itself.",
  down: "Kafka is gone: nothing is delivered or settled, and no replay can begin. Updates wait in Kafka, and all goes on by itself when it is back.",
};

/** What every page tells: in the title of the tab, in the bar, and above everything else. */
function tell(answer) {
  const { group, brokers, now, troubles, open_letters: open } = answer;
  Object.assign(known, { kafka: answer.state, group, brokers, now, troubles, open });
  const sum = open && Object.values(open).reduce((one, other) => one + other, 0);
  const tag = document.getElementById("open-letters");
  tag.hidden = !sum;
  set(tag, sum, count(sum), h("span", { class: "unseen" }, " open"));
  titled();
  tellKafka(answer);
}

/** The title of the tab begins with what is broken. */
function titled() {
  const words = { failed: "without Kafka", holding: "holding", probing: "holding" };
  const names = (known.troubles ?? []).map(({ name, state }) => `${name} ${words[state] ?? state}`);
  const bad = known.kafka === "down" ? "✗ Kafka is gone · " : names.length ? `✗ ${names.join(", ")} · ` : "";
  const title = bad + document.title.replace(/^✗ .*? · /, "");
  if (document.title !== title) document.title = title;
  const icon = bad ? "icon-bad.svg" : "icon.svg";
  const link = document.getElementById("icon");
  if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
}

/** Whether Kafka is there: a banner on every page. */
function tellKafka(kafka) {
  const { failure, instances, now } = kafka;
  const lasting = (since) => `since ${time(since, now)} (${span(between(since, now))})`;
  const lines = instances.map(({ id, since, error }) => [h("b", {}, shown(id)), ` is without Kafka ${lasting(since)}`, error ? [": ", shown(error)] : null]);
  if (failure) lines.unshift([h("b", {}, "This console"), ` gets no answer from Kafka ${lasting(failure.since)}: `, shown(failure.words)]);
  const head = HEADS[kafka.state] ?? "";
  banner.hidden = kafka.state === "up";
  set(banner, kafka.state === "up" ? null : [kafka.state, lines.length, now.slice(0, 19)], h("p", {}, sign("failed"), " ", h("b", {}, head)), lines.map((line) => h("p", {}, line)));
}

/** Whether the console answers, and Kafka does; what is shown is old where one does not. */
function tellLink(error) {
  if (!error || error instanceof Refused) {
    silentSince = null;
    const gone = { down: " Kafka is gone", stranded: " no instance has Kafka" }[known.kafka];
    const group = known.group ? ` · ${known.group} · ${known.brokers}` : "";
    const state = gone ? h("span", { class: "dead" }, sign("failed"), gone) : h("span", { class: "live" }, "live");
    link.replaceChildren(state, h("span", { class: "wide" }, group));
    alarm.hidden = !error;
    if (error) alarm.textContent = error.message;
    return;
  }
  silentSince ??= Date.now();
  link.textContent = "no answer";
  alarm.hidden = false;
  alarm.textContent = `The console does not answer for ${span((Date.now() - silentSince) / 1000)}: what stands here is old. It is asked again by itself.`;
}

/** Keys that go to a part of the page, unless somebody is typing. */
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || event.target.closest?.("input:not([type=checkbox]), select, textarea")) return;
  if (event.key === "/" && current?.search) {
    current.search.focus();
    event.preventDefault();
  }
  if (event.key === "p" && current === pages.letters) pages.letters.plan();
  current?.key?.(event);
  const anchor = document.querySelectorAll("nav a")[["1", "2", "3", "4"].indexOf(event.key)];
  if (anchor) location.hash = anchor.hash;
});

/** Who has given the token, and the way to forget it. */
function tellLock() {
  const button = document.getElementById("lock");
  button.hidden = !whoever();
  button.textContent = `Sign out (${whoever()})`;
  button.onclick = () => {
    lock();
    known = null;
    refresh();
  };
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
