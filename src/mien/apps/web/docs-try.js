// A form for one operation of the API: its call as a line for the shell, and what the service answers.

import { token } from "./api.js";
import { make } from "./labels.js";

const MOST_SHOWN = 100_000; // characters of an answer that are shown

/** A word of a line for the shell. */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function field(id, name, input) {
  input.id = id;
  return make("div", { className: "field" }, make("label", { htmlFor: id, textContent: name }), input);
}

function parameterInput({ name, schema }) {
  if (schema.enum) {
    const options = schema.enum.map((value) => make("option", { value, textContent: value }));
    return make("select", { name, value: schema.default }, ...options);
  }
  return make("input", { name, type: "text", size: 8, placeholder: String(schema.default ?? "") });
}

/** A JSON text with indents; anything else as it is. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export class Trial {
  #method;
  #path;
  #form;
  #file = null;
  #fieldName = null;
  #call = make("code");
  #send = make("button", { type: "submit", className: "primary", textContent: "Send" });
  #status = make("p", { className: "soft" });
  #result = make("pre", { className: "result", tabIndex: 0, hidden: true });
  #running = null;

  constructor(id, method, path, { parameters = [], requestBody }) {
    this.#method = method.toUpperCase();
    this.#path = path.slice(1);
    const title = `${this.#method} ${path}`;
    const fields = parameters.map((one) => field(`${id}-${one.name}`, one.name, parameterInput(one)));
    if (requestBody) {
      const [[name, { type }]] = Object.entries(requestBody.content["multipart/form-data"].schema.properties);
      this.#fieldName = name;
      this.#file = make("input", { type: "file", required: true, multiple: type === "array" });
      fields.unshift(field(`${id}-file`, type === "array" ? "Pictures" : "File", this.#file));
    }
    this.#form = make("form", {}, ...fields, this.#send);
    const call = make("pre", { className: "code", tabIndex: 0 }, this.#call);
    this.#named(call, `${title} for the shell`);
    this.#named(this.#result, `Answer of ${title}`);
    this.#status.setAttribute("role", "status");
    this.element = make(
      "details",
      { className: "try" },
      make("summary", { textContent: "Try it" }),
      this.#form,
      call,
      this.#status,
      this.#result,
    );
    this.#listen();
    this.#showCall();
  }

  #named(element, name) {
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", name);
  }

  #listen() {
    this.#form.addEventListener("input", () => this.#showCall());
    addEventListener("tokenchange", () => this.#showCall());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.#running.abort();
      else this.#ask();
    });
  }

  /** Where it goes; what is left at its default is left out. */
  get #address() {
    const url = new URL(this.#path, document.baseURI);
    for (const input of this.#form.elements) {
      const preset = input.tagName === "SELECT" && input.selectedIndex === 0;
      if (input.name && input.value && !preset) url.searchParams.set(input.name, input.value);
    }
    return url;
  }

  #showCall() {
    const parts = ["curl"];
    if (token()) parts.push("-H", '"Authorization: Bearer $MIEN_TOKEN"');
    const files = [...(this.#file?.files ?? [])].map(({ name }) => name);
    if (files.length > 1) files.forEach((name) => parts.push("-F", quoted(`${this.#fieldName}=@${name}`)));
    else if (this.#file) parts.push("--data-binary", quoted(`@${files[0] ?? "FILE"}`));
    this.#call.textContent = [...parts, quoted(String(this.#address))].join(" ");
  }

  /** One file as the body, several as a form. */
  #body() {
    const files = [...(this.#file?.files ?? [])];
    if (files.length <= 1) return files[0];
    const form = new FormData();
    files.forEach((file) => form.append(this.#fieldName, file));
    return form;
  }

  async #ask() {
    this.#running = new AbortController();
    this.#send.textContent = "Stop";
    this.#status.textContent = "Asking …";
    const began = performance.now();
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    const body = this.#body();
    if (body instanceof File) headers["Content-Type"] = "application/octet-stream";
    try {
      const options = { method: this.#method, headers, body, signal: this.#running.signal };
      const response = await fetch(this.#address, options);
      await this.#showAnswer(response);
      const seconds = ((performance.now() - began) / 1000).toFixed(2);
      this.#status.textContent = `${response.status} ${response.statusText}, ${seconds} s`;
    } catch (error) {
      this.#status.textContent = error.name === "AbortError" ? "Stopped." : "The server does not answer.";
    } finally {
      this.#running = null;
      this.#send.textContent = "Send";
    }
  }

  /** As it comes; JSON that is one object gets its indents at the end. */
  async #showAnswer(response) {
    this.#result.hidden = false;
    this.#result.textContent = "";
    let text = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (text.length < MOST_SHOWN) this.#result.append(part.value);
      text += part.value;
    }
    const shown = pretty(text);
    this.#result.textContent = shown.length > MOST_SHOWN ? `${shown.slice(0, MOST_SHOWN)} …` : shown;
  }
}
