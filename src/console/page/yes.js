// A yes with the token, or how to make it possible.

import { field, h } from "./dom.js";
import { unlock, whoever } from "./net.js";
import { problem } from "./sheet.js";

/**
 * A form with the button `words`, for an act such as "Sending", which `command` does at the command
 * line. `more` stands before the button; `check` throws if it is not right, and `yes` acts.
 */
export function yesForm(known, { act, command, words, more = null, check = () => {}, yes }) {
  if (!known.replay) {
    return h("p", { class: "note" }, act, " is not enabled here. Write a token into a file (", h("code", {}, "openssl rand -hex 32"), "), name it in ", h("code", {}, "[console] token_file"), ", and start the console anew. ",
      h("code", {}, command), " does the same at the command line.");
  }
  const name = h("input", { id: "operator", autocomplete: "username", maxlength: 40, size: 16, required: true, value: whoever() });
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", size: 24, required: true });
  const trouble = h("div");
  const submitted = async (event) => {
    event.preventDefault();
    try {
      check();
      if (!whoever()) await unlock(name.value, token.value);
      await yes(whoever());
    } catch (error) {
      trouble.replaceChildren(problem(error.message));
    }
  };
  return h("form", { class: "filter yes", onsubmit: submitted }, whoever() ? null : [field("your name, for the log", name), field("token", token)], more, h("button", { type: "submit", class: "main", id: "yes" }, words), trouble);
}
