// The frame of the page: which part is shown, keeping it fresh, the token, and the keys.

import { h, set, shown, sign } from "./dom.js";
import { LettersPage } from "./letters.js";
import { ask, hello, lock, Refused, unlock, whoever } from "./net.js";
import { NowPage } from "./now.js";
import { SendPage } from "./send.js";
import { problem } from "./sheet.js";
import { UserPage } from "./user.js";
import { between, span, time } from "./words.js";

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
  const [name] = (location.hash.slice(1) || "now").split(/[/?]/);
  const wanted = Object.hasOwn(pages, name) ? name : "now";
  for (const anchor of document.querySelectorAll("nav a")) {
    const here = anchor.hash === `#${wanted}`;
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
    if (here) document.title = `${anchor.textContent} – user-courier`;
  }
  if (current !== pages[wanted]) {
    current = pages[wanted];
    main.replaceChildren(current.element);
  }
  current.enter?.(location.hash.slice(1));
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
    if (current) tellKafka(await ask("kafka"));
    await current?.update();
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
  pages = { now: new NowPage(), letters: new LettersPage(known), user: new UserPage(known), send: new SendPage(known) };
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
  const field = (label, input) => h("label", { for: input.id }, h("span", {}, label), input);
  current = null;
  main.replaceChildren(h("form", { class: "filter", onsubmit: enter }, field("your name, for the log", name), field("token", token), h("button", { type: "submit", class: "main" }, "Show the page"), trouble));
  name.focus();
}

const HEADS = {
  part: "An instance has no Kafka: the others do its work.",
  stranded: "No instance has Kafka, though this console reaches it: nothing is delivered or settled. Updates wait in Kafka, and all goes on by itself.",
  down: "Kafka is gone: nothing is delivered or settled, and no replay can begin. Updates wait in Kafka, and all goes on by itself when it is back.",
};

/** Whether Kafka is there: a banner on every page. */
function tellKafka(kafka) {
  known.kafka = kafka.state;
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
    const state = gone ? h("span", { class: "dead" }, sign("failed"), gone) : h("span", { class: "live" }, "live");
    link.replaceChildren(state, h("span", { class: "wide" }, ` · ${known.group} · ${known.brokers}`));
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
  button.textContent = `Forget ${whoever()}'s token`;
  button.onclick = () => {
    lock();
    known = null;
    refresh();
  };
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
