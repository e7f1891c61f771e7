// Asking the console. The token stays in the memory of this page: a reload forgets it.

let formToken = "";
let token = "";
let operator = "";

/** An answer that says why not. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** What the page needs to know first. It is asked again when the console was restarted. */
export async function hello() {
  const answer = await ask("hello");
  formToken = answer.form_token;
  return answer;
}

/** Asks for something to be read, or with a `body` for something to be done. */
export async function ask(path, body) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  const options = { headers, signal: AbortSignal.timeout(15000), credentials: "omit", cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
    headers["x-form-token"] = formToken;
  }
  const answer = await fetch(`api/${path}`, options);
  const content = await answer.json().catch(() => ({ error: `the console answers ${answer.status}` }));
  if (!answer.ok) throw new Refused(answer.status, content.error ?? `the console answers ${answer.status}`);
  return content;
}

/** Uses this token from now on, if the console takes it. */
export async function unlock(name, secret) {
  const before = [operator, token];
  [operator, token] = [name, secret];
  try {
    await ask("unlock", { operator });
  } catch (error) {
    [operator, token] = before;
    throw error;
  }
}

/** Forgets the token. */
export function lock() {
  [operator, token] = ["", ""];
}

/** Who has given the token; empty where nobody has. */
export function whoever() {
  return token ? operator : "";
}
