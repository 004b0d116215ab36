// The live stream: at most so many frames unanswered, and back by itself when the server comes back.

import { readModel, sentence, token } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;
const TRY_AGAIN_LATER = 1013;
const POLICY = 1008;

/**
 * Told of through `on`: ready(), answer(answer, frame), unread(frame, message), and
 * lost(kind, message) with the kind "gone" or "busy" (it tries again) or "refused" (it does not).
 */
export class Stream {
  #socket = null;
  #ready = false;
  #wanted = false;
  #wait = FIRST_WAIT;
  #timer = 0;
  #next = 0;
  #waiting = new Map();
  #most = 1;

  constructor(settings, on) {
    this.settings = settings;
    this.on = on;
    settings.addEventListener("change", () => this.#sendSettings());
  }

  open() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#forget();
  }

  /** How many frames may be sent now. */
  get room() {
    return this.#ready ? this.#most - this.#waiting.size : 0;
  }

  /** Send one picture; `frame` comes back with its answer. */
  send(blob, frame) {
    this.#waiting.set(this.#next++, frame);
    this.#socket.send(blob);
  }

  #connect() {
    const protocols = token() === null ? ["mien.v1"] : ["mien.v1", `mien.token.${token()}`];
    const address = new URL("v1/stream", document.baseURI);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    const socket = new WebSocket(address, protocols);
    this.#socket = socket;
    let opened = false;
    socket.addEventListener("open", () => {
      opened = true;
      this.#next = 0;
      this.#sendSettings();
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) this.#take(JSON.parse(event.data));
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#lost(event, opened);
    });
  }

  #sendSettings() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ type: "settings", ...this.settings.values }));
  }

  #take(message) {
    if (message.type === "ready") {
      // New settings are answered alike.
      const first = !this.#ready;
      this.#most = message.in_flight;
      this.#ready = true;
      this.#wait = FIRST_WAIT;
      if (first) this.on.ready();
      return;
    }
    const frame = this.#waiting.get(message.seq);
    this.#waiting.delete(message.seq);
    if (message.type === "frame") this.on.answer(message, frame);
    else this.on.unread(frame, message.error ? sentence(message.error.message) : null);
  }

  #forget() {
    this.#ready = false;
    for (const frame of this.#waiting.values()) this.on.unread(frame, null);
    this.#waiting.clear();
    this.#socket = null;
  }

  async #lost(event, opened) {
    this.#forget();
    if (!this.#wanted) return;
    if (event.code === POLICY) return this.#refuse(event.reason || "The server refused the stream.");
    this.on.lost(event.code === TRY_AGAIN_LATER ? "busy" : "gone", event.reason);
    if (!opened) {
      // A browser does not say why a stream was refused; the REST half does, and has the token asked for.
      try {
        await readModel();
      } catch (problem) {
        if (problem.code === "wrong_origin" || problem.code === "wrong_host")
          return this.#refuse(problem.message);
      }
    }
    if (!this.#wanted || this.#socket) return;
    this.#timer = setTimeout(() => this.#connect(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  #refuse(message) {
    this.#wanted = false;
    this.on.lost("refused", sentence(message));
  }
}
