// The frame of the page: which part is shown, keeping it fresh, the token, and the keys.

import { h } from "./dom.js";
import { hello, Refused } from "./net.js";
import { NowPage } from "./now.js";
import { span } from "./words.js";

const main = document.getElementById("main");
const alarm = document.getElementById("alarm");
const link = document.getElementById("link");

let known = null;
let pages = {};
let current = null;
let silentSince = null;
let timer = 0;

function show() {
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
    if (!known) await begin();
    await current?.update();
    tellLink(null);
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
  pages = { now: new NowPage() };
  show();
}

/** Whether the console answers; what is shown is old where it does not. */
function tellLink(error) {
  if (!error || error instanceof Refused) {
    silentSince = null;
    link.replaceChildren(h("span", { class: "live" }, "live"), h("span", { class: "wide" }, ` ${known.group} · ${known.brokers}`));
    alarm.hidden = !error;
    if (error) alarm.textContent = error.message;
    return;
  }
  silentSince ??= Date.now();
  link.textContent = "no answer";
  alarm.hidden = false;
  alarm.textContent = `The console does not answer for ${span((Date.now() - silentSince) / 1000)}: what stands here is old. It is asked again by itself.`;
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
