// A replay: its plan, the yes, and what comes of it. The console keeps it going when this is closed.

import { announce, field, h, set, shown, sign } from "./dom.js";
import { ask } from "./net.js";
import { Meter, problem, watch } from "./sheet.js";
import { count, of } from "./words.js";
import { yesForm } from "./yes.js";

const ACTIONS = ["send", "trim", "supersede", "refuse"];
const MEANINGS = {
  send: "all of it goes back",
  trim: "what newer updates have overwritten is left out",
  supersede: "newer updates have overwritten all of it: it is settled, and nothing is sent",
  refuse: "it stays where it is",
};

export class Replay {
  constructor(known, what, changed) {
    Object.assign(this, { known, what, changed, isRunning: false });
    this.content = h("div", { class: "content" });
    this.force = h("input", { type: "checkbox", id: "force", onchange: () => this.plan() });
    this.title = h("h2", { id: "replay-title" }, "A replay");
    const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => this.close() }, "✕");
    this.element = h("dialog", { "aria-labelledby": "replay-title", onclose: () => this.closed() }, h("header", {}, this.title, close), this.content);
  }

  open() {
    if (!this.element.isConnected) document.body.append(this.element);
    if (!this.element.open) this.element.showModal();
    if (!this.job) this.plan();
  }

  close() {
    this.element.close();
  }

  closed() {
    if (this.job && !this.isRunning) ask(`jobs/${this.job}/cancel`, {}).catch(() => {});
    if (!this.isRunning) this.over = true;
    this.element.remove();
  }

  async plan() {
    if (this.job) ask(`jobs/${this.job}/cancel`, {}).catch(() => {});
    const meter = new Meter();
    this.title.textContent = "The plan";
    this.content.replaceChildren(meter.element);
    try {
      const { job } = await ask("plan", { ...this.what, force: this.force.checked });
      this.job = job;
      await watch(job, (answer) => {
        if (this.job !== job || this.over) return true;
        this.show(answer, meter);
        const { state, follow, result } = answer;
        // What was sent is followed until all of it has ended.
        const sent = (result?.sums?.[0] ?? 0) + (result?.sums?.[1] ?? 0);
        return state === "failed" || (state === "done" && (!follow || (follow.sent >= sent && !follow.waiting)));
      });
    } catch (error) {
      this.content.replaceChildren(problem(error.message));
    }
  }

  show({ state, progress, result, follow }, meter) {
    meter.update(progress);
    const running = state === "replaying";
    if (running !== this.isRunning) {
      this.isRunning = running;
      this.changed();
    }
    if (state === "planned") set(this.content, [this.job, "planned"], () => this.planned(result));
    if (state === "failed") set(this.content, [this.job, "failed"], problem(result));
    if (running || (state === "done" && result.sums)) this.outcome(state, result, follow, meter);
  }

  planned(plan) {
    this.announced ??= announce(`the plan is there: ${ACTIONS.map((action, at) => `${action} ${plan.sums[at]}`).join(", ")}`) ?? true;
    if (!plan.total) return [h("p", {}, "No dead letter is left to replay.")];
    const held = (this.known.troubles ?? []).filter(({ name, state }) => state !== "probing" && plan.rows.some(({ target }) => target === name));
    const waits = held.map(({ name, state, cause }) => h("p", { class: "note" }, h("b", {}, shown(name)), state === "failed" ? " is without Kafka" : ` is ${state} (${cause})`, ": what is sent to it waits until it works again."));
    return [waits, h("p", {}, `For ${of(plan.total, "dead letter", "dead letters")}:`), table(plan), ACTIONS.map((action, at) => steps(action, plan.sums[at], plan.steps)), this.forcing(plan), this.confirm(plan)];
  }

  forcing({ sums }) {
    if (!sums[3] && !this.force.checked) return null;
    return h("label", { class: "check", for: "force" }, this.force, h("span", {}, "Send also what was replayed three times, what is known to fail again, and where it cannot be told what came after (--force)"));
  }

  confirm({ sums }) {
    const [send, trim, supersede] = sums;
    if (send + trim + supersede === 0) return h("p", { class: "soft" }, "Nothing of this would be sent.");
    const rate = h("input", { id: "rate", inputmode: "numeric", size: 6, maxlength: 6, placeholder: "any", autocomplete: "off" });
    const limit = () => (rate.value.trim() ? Number(rate.value) : null);
    const check = () => {
      if (limit() === null || (Number.isInteger(limit()) && limit() > 0)) return;
      rate.focus();
      throw new Error("events a second: write a whole number, 1 or more, or nothing for as many as there are");
    };
    const yes = async (operator) => {
      await ask(`jobs/${this.job}/yes`, { operator, rate: limit() });
      this.changed();
    };
    const words = `Send ${of(send + trim, "event", "events")}${supersede ? `, and settle ${count(supersede)} without sending` : ""}`;
    return yesForm(this.known, { act: "Replaying", command: "user-courier dead-letters replay", words, more: field("events a second", rate), check, yes });
  }

  outcome(state, result, follow, meter) {
    if (!this.frame) {
      this.frame = { head: h("div"), counts: h("div", { class: "counts", role: "status" }), latest: h("ul", { class: "latest", "aria-label": "The latest outcomes" }), foot: h("div") };
      this.content.replaceChildren(...Object.values(this.frame));
      this.content.dataset.key = "";
    }
    const done = state === "done";
    this.title.textContent = !done ? "Replaying" : follow?.waiting ? `Sent; ${count(follow.waiting)} still waiting` : follow?.dead ? `The replay has ended; ${count(follow.dead)} dead-lettered again` : "The replay has ended";
    if (done && !this.told) {
      this.told = true;
      announce("the replay has ended");
    }
    set(this.frame.head, [state, result.failure], done ? summary(result) : [meter.element, h("button", { type: "button", onclick: () => ask(`jobs/${this.job}/cancel`, {}) }, "Stop after this batch")]);
    if (follow) {
      const figure = (label, number, mark) => h("div", { class: mark }, h("b", {}, count(number)), " ", label);
      set(this.frame.counts, [follow.sent, follow.waiting, follow.delivered, follow.dead], figure("sent", follow.sent, ""), figure("waiting", follow.waiting, ""), h("div", { class: follow.delivered ? "flowing" : "" }, follow.delivered ? sign("flowing") : null, h("b", {}, count(follow.delivered)), " delivered"),
        h("div", { class: follow.dead ? "failed" : "" }, follow.dead ? sign("failed") : null, h("b", {}, count(follow.dead)), " dead again"));
      set(this.frame.latest, follow.latest, follow.latest.map((one) => h("li", { class: one.outcome === "dead_lettered" ? "failed" : "flowing" }, sign(one.outcome === "dead_lettered" ? "failed" : "flowing"), h("span", {}, shown(one.target), " ", one.user ?? ""), h("b", {}, shown(one.outcome), one.reason ? ` ${one.reason}` : ""), one.error ? h("span", { class: "soft" }, shown(one.error)) : null)));
    }
  }
}

function table({ rows, sums }) {
  const line = (cells, numbers) => h("tr", {}, cells.map((cell) => h("td", {}, shown(cell))), numbers.map((number) => h("td", { class: number ? "number" : "number soft" }, count(number))));
  const body = rows.map(({ target, reason, counts }) => line([target, reason], counts));
  if (rows.length > 1) body.push(line(["", "in all"], sums));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The plan" }, h("table", { class: "plan" }, h("thead", {}, h("tr", {}, ["target", "reason"].map((name) => h("th", { scope: "col" }, name)), ACTIONS.map((name) => h("th", { scope: "col", class: "number" }, name)))), h("tbody", {}, body)));
}

function steps(action, sum, all) {
  const some = all.filter((step) => step.action === action);
  if (!some.length) return null;
  const item = (step) => h("li", {}, h("span", { class: "mono" }, shown(step.place)), ` ${step.user === null ? "" : `user ${step.user}`} `, step.fields.length ? h("span", {}, shown(step.fields.join(", "))) : null,
    step.left_out.length ? h("span", { class: "soft" }, step.fields.length ? ", without " : "", shown(step.left_out.join(", "))) : null, step.why ? h("span", { class: "why" }, " ", shown(step.why)) : null);
  const more = sum > some.length ? h("li", { class: "soft" }, `and ${count(sum - some.length)} more`) : null;
  return h("details", {}, h("summary", {}, h("b", {}, `${action} ${count(sum)}`), ` ${MEANINGS[action]}`), h("ul", { class: "steps" }, some.map(item), more));
}

function summary({ sums: [send, trim, supersede, refuse], refused, elsewhere, left, failure, stopped }) {
  const words = [`Replayed ${of(send + trim, "event", "events")}`, trim ? ` (${count(trim)} of them without what was overwritten)` : "", `, superseded ${count(supersede)}, refused ${count(refuse)}.`];
  return [
    h("p", {}, h("b", {}, words.join(""))),
    failure ? problem(failure) : null,
    elsewhere ? h("p", {}, `${of(elsewhere, "other", "others")} had been settled by another replay meanwhile.`) : null,
    left ? h("p", {}, `${stopped ? "Stopped" : "Ended"} before ${of(left, "dead letter", "dead letters")}: make the plan again to go on.`) : null,
    refused.length ? h("ul", { class: "steps" }, refused.slice(0, 20).map(({ place, why }) => h("li", {}, h("span", { class: "mono" }, shown(place)), h("span", { class: "why" }, " ", shown(why))))) : null,
  ];
}
