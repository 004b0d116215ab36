// The REST half of the service: the token, errors as sentences, answers that come line by line.

const TOKEN_KEY = "mien.token";
const TOKEN_IN_ADDRESS = /[#&]token=([^&]*)/;
const MOST_TRIES = 5;

const GONE = "The server does not answer.";

/** What the service refused, or that it could not be reached (code "gone"); the message is a sentence. */
export class Problem extends Error {
  constructor(code, message, retryAfter = null) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

// Where the browser forbids storage, the token holds until the page is left.
let kept = null;
let askForToken = null;

export function token() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function keepToken(value) {
  kept = value;
  try {
    sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    /* kept is enough */
  }
}

/** Take the token out of the address, where it would be copied and remembered. */
export function tokenFromAddress() {
  const found = location.hash.match(TOKEN_IN_ADDRESS);
  if (!found) return;
  keepToken(decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

/** Say how a token is asked for: a function that takes whether one was wrong, and promises another. */
export function onToken(ask) {
  let pending = null;
  askForToken = (wrong) => {
    // Several requests may be refused at once, and a person is asked once.
    pending ??= ask(wrong)
      .then(keepToken)
      .finally(() => {
        pending = null;
      });
    return pending;
  };
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  try {
    const { code, message } = (await response.json()).error;
    return new Problem(code, sentence(message), retryAfter);
  } catch {
    return new Problem("internal", `The server answered ${response.status} without a reason.`, retryAfter);
  }
}

/** With a capital letter, as it stands alone here. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const pause = (seconds, signal) =>
  new Promise((done, failed) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        failed(signal.reason);
      },
      { once: true },
    );
  });

async function ask(path, options = {}) {
  for (let tries = 1; ; tries++) {
    const used = token();
    const headers = { ...options.headers, ...(used === null ? {} : { Authorization: `Bearer ${used}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("gone", GONE);
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.code === "no_token" && askForToken) await askForToken(used !== null);
    else if (problem.code === "busy" && tries < MOST_TRIES)
      await pause(problem.retryAfter ?? 1, options.signal);
    else throw problem;
  }
}

export const readModel = async () => (await ask("v1/model")).json();

/** The answer about one picture. */
export async function predict(file, query, signal) {
  const answer = await (await ask(`v1/predict?${query}`, upload(file, signal))).json();
  return answer.pictures[0];
}

// The content is what counts, and a type that the system made up from a name would only mislead.
const upload = (file, signal) => ({
  method: "POST",
  body: file,
  signal,
  headers: { "Content-Type": "application/octet-stream" },
});

/** The lines of the answer about a video, as they come. */
export async function* predictVideo(file, query, signal) {
  const response = await ask(`v1/predict/video?${query}`, upload(file, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem("gone", "The server stopped answering in the middle of the video.");
    });
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines.filter((text) => text.trim())) {
      const item = JSON.parse(line);
      if (item.type === "error") throw new Problem(item.error.code, sentence(item.error.message));
      yield item;
    }
    if (done) return;
  }
}
