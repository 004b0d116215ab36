// What was seen of each face of the live picture: its card, its last seconds, and rows for a file.

import { FaceCard, sharesOf } from "./faces.js";

const SHOWN = 20; // seconds of the timeline
const AWAY = 5; // seconds after which the card of a face that left goes
const MOST_CARDS = 6;
const LOGGED = 600; // seconds that the files hold
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const TICKS = [
  [-20, "20 s ago"],
  [-15, ""],
  [-10, "10 s"],
  [-5, ""],
  [0, "now"],
];

/** Keeps figures, never a picture. */
export class History {
  #tracks = new Map();
  #drawn = -Infinity;
  #frames = 0;
  #start = null;
  /** {frame, time, faces} each, of the last ten minutes. */
  log = [];

  constructor(element, settings) {
    this.element = element;
    this.settings = settings;
    settings.addEventListener("change", () => this.#classes());
    addEventListener("themechange", () => {
      for (const { card } of this.#tracks.values()) card.colour();
      this.draw(true);
    });
    addEventListener("resize", () => this.draw(true));
  }

  get size() {
    return this.#tracks.size;
  }

  /** Take the faces of one answered frame; `at` in seconds. */
  add(faces, at) {
    this.#start ??= at;
    const time = at - this.#start;
    this.log.push({ frame: this.#frames++, time, faces });
    while (time - this.log[0].time > LOGGED) this.log.shift();
    const seen = new Set();
    for (const face of faces) {
      const track = this.#track(face.track);
      if (!track) continue;
      seen.add(face.track);
      track.points.push({ time, probabilities: face.probabilities, emotion: face.emotion });
      while (time - track.points[0].time > SHOWN) track.points.shift();
      track.last = face;
      track.card.update(face, this.settings.unsure(face));
    }
    for (const [number, track] of this.#tracks) if (!seen.has(number)) this.#missing(number, track, time);
    this.time = time;
    this.draw();
  }

  /** The connection was lost or the camera stopped: numbers begin anew, and what is shown is done. */
  clear() {
    for (const { card } of this.#tracks.values()) card.element.remove();
    this.#tracks.clear();
  }

  draw(now = false) {
    const wait = STILL.matches ? 1000 : 100;
    if (!now && performance.now() - this.#drawn < wait) return;
    this.#drawn = performance.now();
    for (const { card, points } of this.#tracks.values()) {
      const recent = points.map((point) => ({ ...point, time: point.time - this.time }));
      card.timeline.draw(recent, card.classes, { from: -SHOWN, to: 0, ticks: TICKS });
      card.describe(`The last 20 seconds: ${sharesOf(points)}`);
    }
  }

  #track(number) {
    const known = this.#tracks.get(number);
    if (known || this.#tracks.size >= MOST_CARDS) return known;
    const card = new FaceCard(number, this.settings.model.labels, this.settings.labels);
    const track = { card, points: [], last: null };
    this.#tracks.set(number, track);
    this.element.append(card.element);
    return track;
  }

  #missing(number, track, time) {
    if (time - track.points.at(-1).time > AWAY) {
      track.card.element.remove();
      this.#tracks.delete(number);
    } else if (track.last) {
      track.last = null;
      track.card.update(null, false);
    }
  }

  #classes() {
    for (const { card, last } of this.#tracks.values()) {
      if (card.classes.join() !== this.settings.labels.join()) card.show(this.settings.labels);
      // The next answer brings the bars of a new view; those of the old one would be wrong.
      card.update(last, last !== null && this.settings.unsure(last));
    }
    this.draw(true);
  }
}
