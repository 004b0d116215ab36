// A video: read with progress, then played with its boxes, and a timeline of each face over all of it.

import { predictVideo } from "./api.js";
import { asShown, frameTable, heading, nameAfter, saveCsv, saveJson } from "./export.js";
import { FaceCard, sharesOf } from "./faces.js";
import { clock, count, make, percent } from "./labels.js";
import { drawMarks } from "./overlay.js";
import { ticksOf } from "./timeline.js";

const TEXT = 14; // CSS pixels
const SOON = 0.3; // seconds after the last frame that its boxes are shown
const STEP = 1; // seconds of an arrow key
const MOST_CARDS = 12; // the files have all faces

export class Film {
  #start = null;
  #end = null;
  #frames = [];
  #tracks = [];
  #address = null;
  #drawnFrame = undefined;

  constructor(settings, licence) {
    this.settings = settings;
    this.licence = licence;
    this.element = document.getElementById("film");
    addEventListener("themechange", () => {
      for (const { card } of this.#tracks) card?.colour();
      this.redraw();
    });
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  get any() {
    return this.#frames.length > 0;
  }

  clear() {
    this.element.replaceChildren();
    if (this.#address) URL.revokeObjectURL(this.#address);
    [this.#address, this.#start, this.#end] = [null, null, null];
    this.#frames = [];
    this.#tracks = [];
  }

  /** Read a video; `tell` is called with the share that is done (null: unknown) and words. */
  async read(file, signal, tell) {
    this.file = file;
    this.labels = this.settings.labels;
    this.values = this.settings.values;
    for await (const item of predictVideo(file, this.settings.query, signal)) {
      // What a cancelled reading still brings belongs to no result.
      signal.throwIfAborted();
      if (item.type === "start") this.#start = item;
      else if (item.type === "frame")
        this.#frames.push({ frame: item.index, time: item.time, faces: item.faces });
      else if (item.type === "end") this.#end = item;
      else if (item.type === "progress") tell(item.done ?? null, this.#progress(item));
    }
    signal.throwIfAborted();
    tell(1, "Done");
    this.#show();
    return { frames: this.#frames.length, tracks: this.#tracks.length };
  }

  /** It was cancelled or failed on the way: what came until then is shown. */
  ended() {
    if (this.any) this.#show();
  }

  #progress({ done, time }) {
    const share = done === null || done === undefined ? "" : ` (${percent(done)})`;
    return `Reading the video: ${clock(time)}${share}`;
  }

  /** Seconds of the timelines. */
  get #length() {
    return Math.max(0.1, this.#end?.seconds ?? 0, this.#frames.at(-1)?.time ?? 0);
  }

  #show() {
    this.#address = URL.createObjectURL(this.file);
    this.video = make("video", {
      src: this.#address,
      controls: true,
      playsInline: true,
      muted: true,
      preload: "auto",
    });
    this.video.setAttribute("aria-label", `The video ${this.file.name}`);
    this.canvas = make("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Boxes over the video");
    this.note = make("p", { className: "soft", hidden: true });
    this.#follow();
    this.#tracks = this.#byTrack();
    const cards = make(
      "div",
      { className: "faces" },
      ...this.#tracks.slice(0, MOST_CARDS).map(({ card }) => card.element),
    );
    const more = this.#tracks.length - MOST_CARDS;
    if (more > 0)
      cards.append(
        make("p", {
          className: "soft",
          textContent: `${count(more, "face")} more that were seen for a shorter time are in the files.`,
        }),
      );
    if (!this.#tracks.length) cards.append(make("p", { textContent: "No face was found in the video." }));
    this.element.replaceChildren(
      make(
        "div",
        { className: "film" },
        make(
          "div",
          { className: "column" },
          make("div", { className: "screen" }, this.video, this.canvas),
          this.note,
        ),
        cards,
      ),
    );
    this.redraw();
  }

  #follow() {
    const { video } = this;
    video.addEventListener("error", () => {
      this.note.hidden = false;
      this.note.textContent =
        "This browser cannot play videos of this kind; the timelines and the files have what was read.";
    });
    for (const event of ["loadeddata", "seeked", "timeupdate"])
      video.addEventListener(event, () => this.#move());
    if (!("requestVideoFrameCallback" in HTMLVideoElement.prototype)) return;
    const next = (now, { mediaTime }) => {
      if (video !== this.video) return;
      this.#move(mediaTime);
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  }

  #byTrack() {
    const tracks = new Map();
    for (const { time, faces } of this.#frames) {
      for (const face of faces) {
        if (!tracks.has(face.track)) tracks.set(face.track, { number: face.track, points: [] });
        tracks
          .get(face.track)
          .points.push({ time, probabilities: face.probabilities, emotion: face.emotion });
      }
    }
    const sorted = [...tracks.values()].sort((a, b) => b.points.length - a.points.length);
    sorted.slice(0, MOST_CARDS).forEach((track) => this.#card(track));
    return sorted;
  }

  #card(track) {
    const { number, points } = track;
    const card = (track.card = new FaceCard(number, this.settings.model.labels, this.labels));
    card.title.textContent += ` · ${clock(points[0].time)} to ${clock(points.at(-1).time)}`;
    card.canvas.setAttribute("aria-label", `Over the video: ${sharesOf(points)}`);
    const { holder } = card;
    track.cursor = make("span", { className: "cursor" });
    holder.append(track.cursor);
    holder.tabIndex = 0;
    for (const [name, value] of Object.entries({
      role: "slider",
      "aria-label": `Place in the video, by face ${number}`,
      "aria-valuemin": 0,
      "aria-valuemax": this.#length.toFixed(1),
      "aria-valuenow": 0,
    }))
      holder.setAttribute(name, value);
    holder.addEventListener("click", (event) => {
      const { left, width } = holder.getBoundingClientRect();
      this.#seek(((event.clientX - left) / width) * this.#length);
    });
    holder.addEventListener("keydown", (event) => {
      const now = this.video.currentTime;
      const to = {
        ArrowLeft: now - STEP,
        ArrowDown: now - STEP,
        ArrowRight: now + STEP,
        ArrowUp: now + STEP,
        Home: 0,
        End: this.#length,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.#seek(to);
    });
  }

  #seek(time) {
    this.video.currentTime = Math.max(0, Math.min(time, this.#length));
    this.#move(this.video.currentTime);
  }

  /** The last frame that was read at or before a time; null before the first, and where no more was read. */
  #at(time) {
    let low = 0,
      high = this.#frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      // A browser's clock and the file's differ by rounding.
      if (this.#frames[middle].time <= time + 0.005) low = middle + 1;
      else high = middle;
    }
    const found = this.#frames[low - 1];
    const known = low < this.#frames.length || time - found?.time <= SOON;
    return found && known ? found : null;
  }

  redraw() {
    if (!this.any || !this.video) return;
    this.#drawnFrame = undefined;
    const [to, ticks] = [this.#length, ticksOf(0, this.#length, clock)];
    for (const { card, points } of this.#tracks)
      card?.timeline.draw(points, card.classes, { from: 0, to, ticks });
    this.#move();
  }

  #move(time = this.video.currentTime) {
    const frame = this.#at(time);
    if (frame !== this.#drawnFrame) {
      this.#drawnFrame = frame;
      this.#marks(frame?.faces ?? []);
      for (const { number, card } of this.#tracks) {
        if (!card) continue;
        const face = frame?.faces.find(({ track }) => track === number) ?? null;
        card.update(face, face !== null && this.settings.unsure(face));
        card.holder.setAttribute("aria-valuetext", `${clock(time)}: ${card.now.textContent}`);
      }
    }
    const place = Math.min(time, this.#length);
    for (const { card, cursor } of this.#tracks) {
      if (!card) continue;
      card.holder.setAttribute("aria-valuenow", place.toFixed(1));
      cursor.style.left = `${(100 * place) / this.#length}%`;
    }
  }

  #marks(faces) {
    const dense = devicePixelRatio || 1,
      { clientWidth, clientHeight } = this.canvas;
    Object.assign(this.canvas, {
      width: Math.round(clientWidth * dense),
      height: Math.round(clientHeight * dense),
    });
    if (!this.#start || !clientWidth) return;
    const { width, height } = this.#start,
      scale = Math.min(this.canvas.width / width, this.canvas.height / height);
    drawMarks(this.canvas.getContext("2d"), faces, {
      labels: this.settings.model.labels,
      unsure: (face) => this.settings.unsure(face),
      scale,
      width,
      height,
      left: (this.canvas.width - scale * width) / 2,
      top: (this.canvas.height - scale * height) / 2,
      text: TEXT * dense,
      numbered: this.#tracks.length > 1,
    });
  }

  saveCsv() {
    saveCsv(...frameTable(this.#frames, this.settings), nameAfter(this.file.name, "timeline.csv"));
  }

  saveJson() {
    const frames = this.#frames.map(({ faces, ...frame }) => ({
      ...frame,
      faces: faces.map((face) => asShown(face, this.settings)),
    }));
    const { width, height, fps } = this.#start;
    const { threshold } = this.settings;
    saveJson(
      {
        ...heading(this.settings, this.licence),
        ...this.values,
        threshold,
        path: this.file.name,
        width,
        height,
        fps,
        summary: this.#end?.summary ?? null,
        frames,
      },
      nameAfter(this.file.name, "timeline.json"),
    );
  }
}
