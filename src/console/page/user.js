// The page "A user": what waits, what was delivered, what is dead, and which fields last changed when.

import { field, h, shown } from "./dom.js";
import { read } from "./sheet.js";

/** A part of the address as text; as it stands where it is no text. */
function text(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export class UserPage {
  constructor(known) {
    const targets = known.targets.filter((name) => name !== "unclaimed");
    this.target = h("select", { id: "user-target" }, targets.map((name) => h("option", { value: name }, name)));
    this.user = h("input", { id: "user-number", autocomplete: "off", maxlength: 256, size: 12, required: true, placeholder: "52" });
    this.since = h("input", { id: "user-since", autocomplete: "off", size: 12, placeholder: "7d" });
    const form = h("form", { class: "filter", onsubmit: (event) => this.submit(event) },
      field("target", this.target), field("user's id", this.user), field("delivered since", this.since), h("button", { type: "submit", class: "main" }, "Look up"));
    this.result = h("div", { class: "result" }, h("p", { class: "soft" }, "What waits for a user and behind what, what was delivered lately, what is dead, and which fields last changed when."));
    this.element = h("section", { "aria-label": "A user" }, form, this.result);
  }

  period = 5000;

  /** For the key `/`. */
  get search() {
    return this.user;
  }

  submit(event) {
    event.preventDefault();
    const parts = [this.target.value, this.user.value, this.since.value.trim()].filter(Boolean).map(encodeURIComponent);
    const hash = `#user/${parts.join("/")}`;
    if (location.hash === hash) this.enter(hash.slice(1), true);
    else location.hash = hash;
  }

  enter(path, again = false) {
    const [, target, user, since = ""] = path.split("/").map(text);
    if (!user) {
      if (target) this.target.value = target;
      return this.user.focus();
    }
    if (path === this.path && !again) return;
    this.path = path;
    [this.target.value, this.user.value, this.since.value] = [target, user, since];
    document.title = `${target} ${user} – user-courier`;
    const letters = `#letters?${new URLSearchParams({ target, user })}`;
    const ways = h("p", { class: "ways" }, h("a", { href: letters }, "Dead letters of this user, and their replay"), h("button", { type: "button", onclick: () => this.enter(path, true) }, "Read again"));
    read({ user: { target, user, since } }, this.result, (section, column, value) => {
      if (section !== "dead letters" || column !== "place") return null;
      return h("a", { href: `${letters}&open=${encodeURIComponent(value)}` }, shown(value));
    }, ways);
  }

  async update() {}
}
