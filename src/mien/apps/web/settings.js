// How faces are read: the classes, the expected prior, and the confidence below which nothing is said.

import { percent } from "./labels.js";

const SETTLES = 150; // milliseconds without a move after which the slider's place is sent

const at = (id) => document.getElementById(id);

/** Fires "change"; `reading` of its detail says whether answers change, not only what is unsure. */
export class Settings extends EventTarget {
  constructor(model) {
    super();
    this.model = model;
    this.view = "all";
    this.prior = "training";
    /** 0..1; null leaves it to the model. */
    this.threshold = null;
    this.#views();
    at("priors").hidden = !Object.keys(model.prior ?? {}).length;
    at("priors").addEventListener("change", (event) => this.#set({ prior: event.target.value }));
    this.#slider();
    this.#show();
    // On a phone the picture comes first.
    at("settings").open = matchMedia("(min-width: 40rem)").matches;
  }

  /** Names of the classes that are in use. */
  get labels() {
    return this.model.views?.[this.view] ?? this.model.labels;
  }

  get values() {
    return { prior: this.prior, view: this.view, threshold: this.threshold };
  }

  /** As an address has it. */
  get query() {
    const { threshold, ...rest } = this.values;
    return new URLSearchParams(threshold === null ? rest : { ...rest, threshold });
  }

  /** Whether nothing is said about a face; answers from before the slider was moved follow it too. */
  unsure(face) {
    const least = this.threshold ?? this.model.abstain_threshold;
    return least !== null && least !== undefined && face.confidence < least;
  }

  #views() {
    const { all = this.model.labels, ...others } = this.model.views ?? {};
    const views = [["all", all], ...Object.entries(others)];
    at("views").hidden = views.length < 2;
    for (const [name, labels] of views) {
      const without = this.model.labels.filter((label) => !labels.includes(label));
      const choice = document.createElement("label");
      const input = Object.assign(document.createElement("input"), {
        type: "radio",
        name: "view",
        value: name,
        checked: name === this.view,
      });
      const text = Object.assign(document.createElement("span"), {
        textContent: without.length
          ? `${labels.length}, without ${without.join(", ")}`
          : `All ${labels.length}`,
      });
      choice.append(input, text);
      at("view-choice").append(choice);
    }
    at("views").addEventListener("change", (event) => this.#set({ view: event.target.value }));
  }

  #slider() {
    const slider = at("threshold");
    const own = Math.round(100 * (this.model.abstain_threshold ?? 0));
    slider.value = own;
    let timer = 0;
    const moved = (threshold) => {
      this.threshold = threshold;
      at("threshold-reset").disabled = threshold === null;
      this.#show();
      clearTimeout(timer);
      timer = setTimeout(() => this.#changed(false), SETTLES);
    };
    slider.addEventListener("input", () => moved(Number(slider.value) / 100));
    at("threshold-reset").addEventListener("click", () => {
      slider.value = own;
      slider.focus();
      moved(null);
    });
  }

  #set(values) {
    Object.assign(this, values);
    this.#show();
    this.#changed(true);
  }

  #changed(reading) {
    this.dispatchEvent(new CustomEvent("change", { detail: { reading } }));
  }

  #show() {
    const least = this.threshold ?? this.model.abstain_threshold ?? 0;
    at("threshold-value").textContent = percent(least);
    at("threshold").setAttribute("aria-valuetext", percent(least));
    const prior = this.prior === "training" ? "expected as trained" : "expected evenly";
    at("settings-now").textContent =
      `${this.labels.length} classes, ${prior}, unsure below ${percent(least)}`;
  }
}
