// Elements. Whatever comes from Kafka, an API or another process goes through `shown`: as text, with what cannot be seen made visible.

import { ago } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// Control and format characters, marks of direction, line separators, fillers, tags, and what has
// no place in a text at all.
const ODD = /[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\u{e0000}-\u{e0fff}]/gu;

/** An element with attributes and children. A child that is a string is text. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A text from outside, apart from the direction of what stands around it. */
export function shown(value) {
  const text = String(value);
  const element = h("bdi");
  let from = 0;
  for (const odd of text.matchAll(ODD)) {
    element.append(text.slice(from, odd.index));
    const code = odd[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    element.append(h("span", { class: "odd", title: "a character that cannot be seen" }, `U+${code}`));
    from = odd.index + odd[0].length;
  }
  element.append(text.slice(from));
  return element;
}

/** A moment: in UTC to the second, how long ago, and in the reader's own zone when pointed at. */
export function moment(text, words = `${text.slice(0, 19).replace("T", " ")} UTC`) {
  return h("time", { datetime: text, title: new Date(text).toLocaleString() }, words, h("span", { class: "ago", "data-since": text }, ""));
}

/** Says anew how long ago each moment of the page was. */
export function tick(now) {
  for (const element of document.querySelectorAll("[data-since]")) element.textContent = ` ${ago(element.dataset.since, now)}`;
}

const MOMENT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;

/** A text from outside, its moments as such. */
export function told(value) {
  const text = String(value);
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(MOMENT)) {
    if (Number.isNaN(Date.parse(found[0]))) continue;
    if (found.index > from) parts.push(shown(text.slice(from, found.index)));
    parts.push(moment(found[0]));
    from = found.index + found[0].length;
  }
  if (from < text.length || !parts.length) parts.push(shown(text.slice(from)));
  return parts;
}

/** Puts children in place of those that are there; leaves everything alone where the key is the same as before. They may be made by a function. */
export function set(element, key, ...children) {
  const text = JSON.stringify(key);
  if (element.dataset.key === text) return;
  element.dataset.key = text;
  if (typeof children[0] === "function") children = [children[0]()];
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

const SHAPES = {
  flowing: () => [s("circle", { cx: 8, cy: 8, r: 5 })],
  probing: () => [s("circle", { cx: 8, cy: 8, r: 4.5, class: "hollow" }), s("path", { d: "M8 3.5a4.5 4.5 0 0 1 0 9z" })],
  holding: () => [s("rect", { x: 3.5, y: 3, width: 3.4, height: 10 }), s("rect", { x: 9.1, y: 3, width: 3.4, height: 10 })],
  failed: () => [s("path", { d: "M4 4l8 8M12 4l-8 8", class: "stroke" })],
  unknown: () => [s("circle", { cx: 8, cy: 8, r: 4.5, class: "hollow dashed" })],
};

/** A small sign that says the same as the word beside it. */
export function sign(state) {
  const shape = SHAPES[state] ?? SHAPES.unknown;
  return s("svg", { class: "sign", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape());
}

/** The class of a state; a word that is not known gets none of its own. */
export function tone(state) {
  return Object.hasOwn(SHAPES, state) ? state : "unknown";
}

/** Says something to those who listen to the page. */
export function announce(words) {
  document.getElementById("announcer").textContent = words;
}

/** An input with its label. */
export function field(label, input) {
  return h("label", { for: input.id }, h("span", {}, label), input);
}
