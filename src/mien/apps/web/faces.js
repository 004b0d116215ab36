// A card for each face: its bars, and its timeline beside them.

import { colourOf, make, percent, verdict } from "./labels.js";
import { Timeline } from "./timeline.js";

const SUMMARY = 1000; // milliseconds between two summaries for screen readers

/** One face's card. */
export class FaceCard {
  #rows = new Map();
  #summed = -Infinity;

  /** labels: of the model, for the colours; classes: that are shown. */
  constructor(number, labels, classes) {
    this.labels = labels;
    this.now = make("span", { className: "face-now" });
    this.title = make("h3", { textContent: `Face ${number}` });
    this.bars = make("ul", { className: "bars" });
    this.canvas = make("canvas");
    this.canvas.setAttribute("role", "img");
    this.holder = make("div", { className: "timeline" }, this.canvas);
    this.element = make(
      "article",
      { className: "face" },
      make("div", { className: "face-head" }, this.title, this.now),
      make("div", { className: "face-body" }, this.bars, this.holder),
    );
    this.element.dataset.track = number;
    this.timeline = new Timeline(this.canvas, labels);
    this.show(classes);
  }

  /** Show other classes. */
  show(classes) {
    this.classes = classes;
    this.#rows.clear();
    this.bars.replaceChildren(
      ...classes.map((name) => {
        const fill = make("span", { className: "fill" }),
          value = make("span", { className: "value" });
        const track = make("span", { className: "track" }, fill);
        track.setAttribute("aria-hidden", "true");
        const item = make(
          "li",
          {},
          make("span", { className: "name", textContent: name, title: name }),
          track,
          value,
        );
        this.#rows.set(name, { fill, value, item });
        return item;
      }),
    );
    this.colour();
  }

  /** Take the colours of the theme. */
  colour() {
    for (const [name, { fill }] of this.#rows) fill.style.backgroundColor = colourOf(name, this.labels);
  }

  /** What the model says of the face now; null where it is not seen. */
  update(face, unsure) {
    this.element.classList.toggle("away", face === null);
    this.now.textContent = face === null ? "not seen" : verdict(face, unsure);
    for (const [name, { fill, value, item }] of this.#rows) {
      const share = face?.probabilities[name] ?? 0;
      fill.style.transform = `scaleX(${share.toFixed(3)})`;
      value.textContent = face === null ? "–" : percent(share);
      item.classList.toggle("likeliest", face !== null && !unsure && name === face.emotion);
    }
  }

  /** Words for the timeline, at most once a second. */
  describe(words) {
    if (performance.now() - this.#summed < SUMMARY) return;
    this.#summed = performance.now();
    this.canvas.setAttribute("aria-label", words);
  }
}

/** The shares of time in which each emotion was the likeliest, the largest first: "happiness 80 %, ...". */
export function sharesOf(points, most = 3) {
  const counts = new Map();
  for (const { emotion } of points) counts.set(emotion, (counts.get(emotion) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([name, number]) => `${name} ${percent(number / points.length)}`)
    .join(", ");
}
