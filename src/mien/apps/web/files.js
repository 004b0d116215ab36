// Pictures or a video, chosen or dropped: read one after another, with progress and cancel.

import { Film } from "./film.js";
import { count } from "./labels.js";
import { Pictures } from "./pictures.js";

const VIDEO_ENDING = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ogv|3gp|wmv|ts|mts)$/i;

const at = (id) => document.getElementById(id);
const isVideo = (file) => file.type.startsWith("video/") || (!file.type && VIDEO_ENDING.test(file.name));
const size = (bytes) =>
  bytes >= 1 << 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.round(bytes / 2 ** 20)} MB`;

export class FilesView {
  #aborter = null;
  #shown = null;
  #files = [];

  /** show: brings this view to the front. */
  constructor(settings, limits, licence, show) {
    this.settings = settings;
    this.limits = limits;
    this.show = show;
    this.pictures = new Pictures(settings, licence);
    this.film = new Film(settings, licence);
    at("drop-limits").textContent =
      `Several pictures of ${size(limits.picture_bytes)} each at most, or one video of ` +
      `${size(limits.video_bytes)} and ${Math.round(limits.video_seconds / 60)} minutes at most.`;
    this.#buttons();
    this.#dropping();
    settings.addEventListener("change", (event) => this.#changed(event.detail.reading));
  }

  #buttons() {
    at("chooser").addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = ""; // so that the same file can be chosen again
      this.read(files);
    });
    at("cancel").addEventListener("click", () => this.cancel());
    at("again").addEventListener("click", () => this.read(this.#files));
    at("clear").addEventListener("click", () => {
      this.clear();
      at("chooser").focus();
    });
    at("files-csv").addEventListener("click", () => this.#shown.saveCsv());
    at("files-json").addEventListener("click", () => this.#shown.saveJson());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.cancel();
    });
  }

  #dropping() {
    let depth = 0; // a drag enters and leaves each element on its way
    const mark = (by) => {
      depth = by ? Math.max(0, depth + by) : 0;
      document.body.classList.toggle("dragging", depth > 0);
    };
    const withFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (event) => {
      if (withFiles(event)) {
        mark(1);
        this.show();
      }
    });
    addEventListener("dragleave", (event) => {
      if (withFiles(event)) mark(-1);
    });
    addEventListener("dragover", (event) => {
      if (withFiles(event)) event.preventDefault();
    });
    addEventListener("drop", (event) => {
      if (!withFiles(event)) return;
      event.preventDefault();
      mark(0);
      this.show();
      this.read([...event.dataTransfer.files]);
    });
  }

  cancel() {
    this.#aborter?.abort();
  }

  clear() {
    this.cancel();
    this.pictures.clear();
    this.film.clear();
    this.#shown = null;
    at("results").hidden = true;
    this.#tell("");
  }

  /** Read files; one video is a video, and all else is taken for pictures, which the server judges. */
  async read(files) {
    if (!files.length) return;
    this.clear();
    const aborter = (this.#aborter = new AbortController());
    this.#files = files;
    const videos = files.filter(isVideo);
    if (videos.length > 1 || (videos.length && files.length > 1)) {
      return this.#tell("A video is read alone: choose one video, or only pictures.", true);
    }
    at("again").hidden = true;
    at("work").hidden = false;
    try {
      await (videos.length ? this.#film(files[0], aborter.signal) : this.#pictures(files, aborter.signal));
    } catch (error) {
      // Another call has begun, and the view is its.
      if (aborter !== this.#aborter) return;
      if (error.name === "AbortError") this.#tell("Cancelled.");
      else this.#tell(error.message, true);
      this.#ended();
    } finally {
      if (aborter === this.#aborter) {
        this.#aborter = null;
        at("work").hidden = true;
      }
    }
  }

  async #pictures(files, signal) {
    this.#shown = this.pictures;
    this.#work(`Reading ${count(files.length, "picture")}`, 0);
    this.#tell(`Reading ${count(files.length, "picture")}.`);
    const { read, faces } = await this.pictures.read(files, this.limits, signal, (done) => {
      at("results").hidden = false;
      this.#work(`${done} of ${count(files.length, "picture")} read`, done / files.length);
    });
    const unread = files.length - read;
    this.#tell(
      `${count(faces, "face")} in ${count(read, "picture")}.` +
        (unread ? ` ${count(unread, "file")} could not be read; the reason is beside the name.` : ""),
      unread > 0,
    );
    this.#title();
  }

  async #film(file, signal) {
    if (file.size > this.limits.video_bytes) {
      const [has, most] = [size(file.size), size(this.limits.video_bytes)];
      throw new Error(`The video has ${has} and at most ${most} are read; cut it or make it smaller.`);
    }
    this.#shown = this.film;
    this.#work("Sending the video", null);
    this.#tell("Reading the video.");
    const { frames, tracks } = await this.film.read(file, signal, (done, words) => {
      at("results").hidden = false;
      this.#work(words, done);
    });
    this.#tell(`${count(tracks, "face")} followed over ${count(frames, "frame")}.`);
    this.#title();
  }

  /** What was read until it was cancelled or failed stays. */
  #ended() {
    if (this.#shown) this.#shown.ended();
    at("results").hidden = !this.#shown?.any;
    this.#title();
  }

  #title() {
    at("results-title").textContent =
      this.#files.length === 1 ? this.#files[0].name : count(this.#files.length, "picture");
  }

  #work(words, done) {
    at("work-text").textContent = words;
    if (done === null) at("progress").removeAttribute("value");
    else at("progress").value = done;
  }

  #tell(words, fault = false) {
    at("files-status").textContent = words;
    at("files-status").classList.toggle("fault", fault);
  }

  #changed(reading) {
    if (!this.#shown) return;
    // Pictures are quick; a video is read anew when its viewer says so.
    if (reading && this.#shown === this.pictures) this.read(this.#files);
    else if (reading) {
      at("again").hidden = false;
      this.#tell("The video was read with other settings; “Read again” reads it with these.");
    } else this.#shown.redraw();
  }
}
