// The states of the live view in words: a title, and what to do.

import { sentence } from "./api.js";

const WITHOUT = "Pictures and videos can be read without it.";

const WORDS = {
  idle: [
    "Read the look on your face",
    "The camera starts when you say so. Its frames stay on the machine that runs mien and are not kept.",
  ],
  asking: ["Allow the camera", "The browser asks whether this page may use it."],
  insecure: [
    "No camera here",
    "Browsers give the camera only to pages of this machine or over https. Open the page on the machine " +
      `that runs mien, as http://127.0.0.1, or put https before it. ${WITHOUT}`,
  ],
  denied: [
    "The camera was not allowed",
    `Allow it in the address bar’s camera or lock sign, then start again. ${WITHOUT}`,
  ],
  none: ["No camera was found", `Connect one and start again. ${WITHOUT}`],
  used: ["The camera is in use", "Another program has it. Close that program, then start again."],
  lost: ["The camera went away", "Connect it again, then start again."],
  other: ["The camera could not be started", "Try another camera or another browser, then start again."],
  gone: [
    "The server does not answer",
    "This page goes on by itself when it is back. If it stays away, start mien serve again.",
  ],
  busy: [
    "The server has no room for another camera",
    "It is tried again by itself; another page’s camera may have to be stopped.",
  ],
  refused: ["The server refused the camera’s frames", ""],
};

/** Title and text of a state, where it has them; `reason` of the server comes after its own text. */
export function wordsOf(state, reason = "") {
  const [title, text] = WORDS[state] ?? ["", ""];
  return [title, state === "refused" ? sentence(reason) : text];
}
