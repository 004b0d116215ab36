// The page: the model is asked for first, then the two views are set up.

import { onToken, readModel, tokenFromAddress } from "./api.js";
import { FilesView } from "./files.js";
import { LiveView } from "./live.js";
import { Settings } from "./settings.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

const at = (id) => document.getElementById(id);

/** Ask a person for the token; resolves once there is one. */
function askForToken(wrong) {
  const dialog = at("token-dialog");
  at("token-error").textContent = wrong ? "That token is not the service’s; look for a typing error." : "";
  at("token").value = "";
  dialog.showModal();
  return new Promise((done) => {
    // Without a token nothing works, so Escape does not close the form.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    at("token-form").addEventListener("submit", () => done(at("token").value.trim()), { once: true });
  });
}

/** Tabs as WAI-ARIA describes them; returns a function that shows one. */
function tabs(shown) {
  const all = [...document.querySelectorAll('[role="tab"]')];
  const select = (tab, focus = false) => {
    for (const other of all) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      at(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
    if (focus) tab.focus();
    shown(tab.getAttribute("aria-controls"));
  };
  for (const [i, tab] of all.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(all.at(to % all.length), true);
    });
  }
  return (id) => select(all.find((tab) => tab.getAttribute("aria-controls") === id));
}

async function modelWhenThere() {
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      return await readModel();
    } catch (problem) {
      at("live-status").textContent =
        problem.code === "gone" ? "The server does not answer. Trying again." : problem.message;
      at("live-status").classList.add("fault");
      await new Promise((done) => {
        setTimeout(done, wait);
      });
    }
  }
}

function about({ mien, model, card }) {
  if (!LOOPBACK.test(location.hostname)) {
    for (const id of ["place", "about-place"]) at(id).textContent = "the machine that runs mien";
  }
  at("about-classes").textContent = `${model.labels.length}`;
  at("about-rules").textContent =
    "Inferring emotions at work or in education is forbidden in the European Union (AI Act, Article " +
    "5(1)(f)), except for medical or safety reasons, and is regulated elsewhere.";
  at("about-model").textContent =
    `mien ${mien}, model ${model.name} (${model.sha256.slice(0, 12)}). ${card.licence ?? ""}`;
}

async function begin() {
  tokenFromAddress();
  onToken(askForToken);
  at("start").disabled = true;
  const description = await modelWhenThere();
  const settings = new Settings(description.model);
  const licence = description.card.licence ?? "";
  about(description);
  const live = new LiveView(settings, licence);
  const show = tabs((id) => {
    live.active = id === "camera";
  });
  new FilesView(settings, description.limits, licence, () => show("files"));
  at("start").disabled = false;
  document.documentElement.dataset.ready = "true";
}

begin();
