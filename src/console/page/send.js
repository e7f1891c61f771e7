// The page "Send": one update, the call as it would be made, a yes with the token, and how it ends.

import { announce, field, h, set, shown, sign } from "./dom.js";
import { ask } from "./net.js";
import { problem, watch } from "./sheet.js";
import { yesForm } from "./yes.js";

export class SendPage {
  constructor(known) {
    this.known = known;
    const targets = known.targets.filter((name) => name !== "unclaimed");
    this.target = h("select", { id: "send-target" }, targets.map((name) => h("option", { value: name }, name)));
    this.user = h("input", { id: "send-user", autocomplete: "off", maxlength: 256, size: 12, required: true, placeholder: "52" });
    this.changes = h("textarea", { id: "send-changes", class: "mono", rows: 4, cols: 60, spellcheck: "false", autocomplete: "off", required: true, placeholder: '{ "rooms": [37, 39] }' });
    this.key = h("input", { id: "send-key", autocomplete: "off", maxlength: 256, size: 12, placeholder: "the user's id" });
    const form = h("form", { class: "filter", onsubmit: (event) => this.preview(event) },
      field("target", this.target), field("user's id", this.user), field("record key, if another", this.key), field("changes, as JSON", this.changes),
      h("button", { type: "submit", class: "main" }, "Preview"));
    this.result = h("div", { class: "result" }, h("p", { class: "soft" }, "Shows the call that an update would make. It is sent only after a yes with the token, and followed to its end."));
    this.element = h("section", { "aria-label": "Send" }, form, this.result);
  }

  period = 5000;

  /** For the key `/`. */
  get search() {
    return this.user;
  }

  enter() {
    this.user.focus();
  }

  async update() {}

  async preview(event) {
    event.preventDefault();
    if (this.job && !this.isSent) ask(`jobs/${this.job}/cancel`, {}).catch(() => {});
    this.isSent = false;
    this.result.replaceChildren(h("p", { class: "soft" }, "one moment …"));
    this.result.dataset.key = "";
    try {
      const { job } = await ask("send", { target: this.target.value, user: this.user.value, changes: this.changes.value, key: this.key.value });
      this.job = job;
      await watch(job, ({ state, result }) => {
        if (this.job !== job) return true;
        set(this.result, [job, state, result], () => this.show(state, result));
        return state === "failed" || state === "done";
      });
    } catch (error) {
      this.result.replaceChildren(problem(error.message));
    }
  }

  show(state, result) {
    if (state === "failed") return [problem(result)];
    if (!result) return [h("p", { class: "soft" }, "one moment …")];
    if (result.given_up) return [h("p", { class: "soft" }, "Nothing was sent.")];
    if (state === "planned") return [call(result), this.confirm()];
    this.isSent = result.outcome !== "refused";
    const words = told(result);
    if (state === "done") announce(words.join(" "));
    const good = ["delivered", "merged"].includes(result.outcome);
    const bad = ["dead_lettered", "refused", "unknown"].includes(result.outcome);
    const mark = good ? "flowing" : bad ? "failed" : "unknown";
    return [
      h("p", { class: mark, role: "status" }, sign(mark), " ", h("b", { class: "ending" }, shown(result.outcome)), result.reason ? [", ", shown(result.reason)] : null),
      words.map((line) => h("p", {}, shown(line))),
      result.call ? call(result) : null,
      result.record ? facts(result) : null,
      h("p", {}, h("a", { href: `#user/${encodeURIComponent(result.target)}/${encodeURIComponent(result.user)}` }, "What is known of this user")),
    ];
  }

  confirm() {
    const yes = (operator) => ask(`jobs/${this.job}/yes`, { operator, rate: null });
    return yesForm(this.known, { act: "Sending", command: "user-courier send", words: "Send it", yes });
  }
}

function call({ call, key }) {
  return h("div", { class: "sheet" }, h("p", {}, h("b", {}, shown(call.method)), " ", shown(call.url)), h("pre", { tabindex: 0, "aria-label": "The body" }, shown(call.body)), h("p", { class: "soft" }, "record key ", shown(key)));
}

/** What came of it, in lines. */
function told({ outcome, record, error, into, waiting, failure }) {
  const lines = [];
  if (outcome === "refused") lines.push("Nothing was sent: it would be a dead letter.");
  if (outcome === "merged" && into) lines.push(`Delivered inside a later update of this user, ${place(into)}.`);
  if (outcome === "waiting") lines.push(waiting || `It stays queued as ${place(record)}, and need not be sent again.`);
  if (outcome === "unknown") lines.push(`${failure} It was sent as ${place(record)}: do not send it again.`);
  if (error) lines.push(error.message, ...Object.entries(error.fields ?? {}).map(([name, words]) => `${name}: ${words.join(", ")}`));
  return lines;
}

function place({ topic, partition, offset }) {
  return `${topic}/${partition}/${offset}`;
}

function facts({ record, attempts, http_status: status, finished_at: at }) {
  const rows = [["record", place(record)], ["calls", attempts], ["last answer", status], ["ended", at]].filter(([, value]) => value !== null && value !== undefined);
  return h("table", {}, h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, shown(value))))));
}
