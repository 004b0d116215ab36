// The live view: camera -> server -> the frame with its boxes.
//
// What is shown is the frame that was answered, with the boxes found in it: the two never part, and the
// picture is late by what the reading takes. The newest frame is sent as soon as there is room; the others
// are left out.

import { Grabber, cameras, eachFrame, faultOf, openCamera } from "./camera.js";
import { Stream } from "./connection.js";
import { frameTable, asShown, heading, saveCsv, saveJson, savePng, timeStamp } from "./export.js";
import { History } from "./history.js";
import { count } from "./labels.js";
import { Meter } from "./meter.js";
import { annotated, describe, drawMarks } from "./overlay.js";
import { wordsOf } from "./states.js";

const SUMMARY = 1000; // milliseconds between two summaries for screen readers
const TEXT = 15; // CSS pixels

const at = (id) => document.getElementById(id);

export class LiveView {
  #camera = null;
  #stream;
  #grabber;
  #shown = null;
  #grabbing = false;
  #fresh = false;
  #paused = false;
  #active = true;
  #starting = 0;
  #summed = -Infinity;
  #told = "";

  constructor(settings, licence) {
    this.settings = settings;
    this.licence = licence;
    this.video = at("live-video");
    this.picture = at("live-picture");
    this.marks = at("live-marks");
    this.stage = at("stage");
    this.mirror = true;
    this.history = new History(at("live-faces"), settings);
    this.meter = new Meter(() => this.#figures());
    this.#grabber = new Grabber(this.video);
    this.#stream = new Stream(settings, {
      ready: () => this.#ready(),
      answer: (answer, frame) => this.#answer(answer, frame),
      unread: (frame, message) => {
        if (frame) this.#grabber.giveBack(frame);
        if (message) this.#tell(message, true);
      },
      lost: (kind, message) => this.#lost(kind, message),
    });
    eachFrame(this.video, (frames) => {
      this.meter.camera(frames);
      this.#fresh = true;
      this.#send();
    });
    this.#buttons();
    this.#state("idle");
  }

  /** Whether the live view is the one that is shown; else nothing is sent. */
  set active(active) {
    this.#active = active;
    this.#send();
  }

  #buttons() {
    at("start").addEventListener("click", () => this.start());
    at("stop").addEventListener("click", () => {
      this.stop();
      at("start").focus();
    });
    at("pause").addEventListener("click", () => this.pause());
    at("mirror").addEventListener("click", () => this.#setMirror(!this.mirror));
    at("snapshot").addEventListener("click", () => this.#snapshot());
    at("device").addEventListener("change", () => this.start(at("device").value));
    at("live-csv").addEventListener("click", () =>
      saveCsv(...frameTable(this.history.log, this.settings), `mien-${timeStamp()}.csv`),
    );
    at("live-json").addEventListener("click", () => this.#json());
    this.stage.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target !== this.stage || !this.#camera) return;
      event.preventDefault();
      this.pause();
    });
    document.addEventListener("visibilitychange", () => this.#send());
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#devices());
    this.settings.addEventListener("change", () => this.#redraw());
    addEventListener("themechange", () => this.#redraw());
    new ResizeObserver(() => this.#redraw()).observe(this.stage);
    this.#setMirror(true);
  }

  async start(device = at("device").value) {
    this.stop();
    if (!navigator.mediaDevices?.getUserMedia) return this.#fault("insecure");
    this.#state("asking");
    const starting = this.#starting;
    try {
      const camera = await openCamera(device);
      // Stopped, or started anew, while the person was asked.
      if (starting !== this.#starting) return camera.getTracks().forEach((track) => track.stop());
      this.#camera = camera;
    } catch (error) {
      if (starting === this.#starting) this.#fault(faultOf(error));
      return;
    }
    const [track] = this.#camera.getVideoTracks();
    track.addEventListener("ended", () => {
      this.stop();
      this.#fault("lost");
    });
    this.video.srcObject = this.#camera;
    this.#state("connecting");
    this.meter.start();
    this.#stream.open();
    await this.video.play().catch(() => {});
    await this.#devices(track.getSettings().deviceId);
  }

  stop() {
    this.#starting++;
    this.#camera?.getTracks().forEach((track) => track.stop());
    this.#camera = null;
    this.video.srcObject = null;
    this.#stream.close();
    this.meter.stop();
    this.history.clear();
    this.#paused = false;
    at("pause").setAttribute("aria-pressed", "false");
    this.#clear();
    this.#state("idle");
  }

  pause() {
    this.#paused = !this.#paused;
    at("pause").setAttribute("aria-pressed", String(this.#paused));
    this.#badge(this.#paused ? "Paused" : "");
    this.#tell(this.#paused ? "Paused; nothing is sent." : "Going on.");
    this.meter.start();
    this.#send();
  }

  async #send() {
    if (!this.#camera || this.#paused || !this.#active || document.hidden || !this.#fresh) return;
    if (this.#grabbing || this.#stream.room <= 0 || this.video.readyState < 2) return;
    this.#grabbing = true;
    this.#fresh = false;
    const frame = await this.#grabber.grab();
    this.#grabbing = false;
    // What has changed meanwhile is asked again.
    if (frame.blob && this.#camera && !this.#paused && this.#stream.room > 0)
      this.#stream.send(frame.blob, frame);
    else this.#grabber.giveBack(frame);
    this.#send();
  }

  #ready() {
    this.#state("running");
    this.history.clear();
    this.meter.start();
    this.#send();
  }

  #answer(answer, frame) {
    // A frame that was under way when the view was paused or left does not move it.
    if (this.#paused || !this.#camera) return this.#grabber.giveBack(frame);
    if (this.#shown) this.#grabber.giveBack(this.#shown.frame);
    this.#shown = { answer, frame };
    this.#send();
    this.#redraw(true);
    this.history.add(answer.faces, frame.taken / 1000);
    this.meter.answered(performance.now() - frame.taken, answer.milliseconds.read);
    at("live-empty").hidden = this.history.size > 0;
    for (const id of ["snapshot", "live-csv", "live-json"]) at(id).disabled = false;
    this.#says(answer.faces);
  }

  /** The picture, if it is a new one, and the boxes over it. */
  #redraw(picture = false) {
    if (!this.#shown) return;
    const {
        answer,
        frame: { canvas },
      } = this.#shown,
      { width, height } = canvas;
    if (picture) {
      if (this.picture.width !== width || this.picture.height !== height)
        Object.assign(this.picture, { width, height });
      this.picture.getContext("2d", { alpha: false }).drawImage(canvas, 0, 0);
      this.stage.classList.add("answered");
    }
    const dense = devicePixelRatio || 1,
      { clientWidth, clientHeight } = this.stage;
    const w = Math.round(clientWidth * dense),
      h = Math.round(clientHeight * dense);
    if (this.marks.width !== w || this.marks.height !== h) Object.assign(this.marks, { width: w, height: h });
    const context = this.marks.getContext("2d"),
      scale = Math.min(w / width, h / height);
    context.clearRect(0, 0, w, h);
    drawMarks(context, answer.faces, {
      labels: this.settings.model.labels,
      unsure: (face) => this.settings.unsure(face),
      scale,
      width,
      height,
      mirror: this.mirror,
      left: (w - scale * width) / 2,
      top: (h - scale * height) / 2,
      text: TEXT * dense,
      numbered: answer.faces.length > 1,
    });
  }

  #clear() {
    if (this.#shown) this.#grabber.giveBack(this.#shown.frame);
    this.#shown = null;
    this.stage.classList.remove("answered");
    this.marks.getContext("2d").clearRect(0, 0, this.marks.width, this.marks.height);
    at("live-empty").hidden = false;
    at("snapshot").disabled = true;
    this.picture.setAttribute("aria-label", "No picture yet");
  }

  /** Words for what is seen, only when they change, and at most once a second. */
  #says(faces) {
    if (performance.now() - this.#summed < SUMMARY) return;
    this.#summed = performance.now();
    this.picture.setAttribute("aria-label", `The camera’s picture: ${describe(faces, this.settings)}`);
    const slow = this.meter.slow;
    this.#badge(faces.length ? "" : "No face in the picture");
    if (slow) {
      this.#tell(
        `The reading keeps up with ${slow.answered} of ${slow.camera} frames a second; the others are left out, ` +
          "so that the picture is not late.",
      );
    } else {
      this.#tell(
        faces.length
          ? `${count(faces.length, "face")} in the picture.`
          : "No face in the picture: look into the camera, with light on the face.",
      );
    }
  }

  #figures() {
    const { rate, latency, reading, cameraRate } = this.meter;
    const write = (id, value, unit = "") => {
      at(id).textContent = value === null ? "–" : `${Math.round(value)}${unit}`;
    };
    write("rate", rate);
    write("latency", latency, " ms");
    write("reading", reading, " ms");
    write("camera-rate", cameraRate);
  }

  #lost(kind, reason) {
    if (kind === "refused") this.stop();
    this.#clear();
    this.#fault(kind, reason);
  }

  #fault(kind, reason = "") {
    this.#state(kind, reason);
    this.#tell(`${wordsOf(kind)[0]}.`, true);
  }

  /** What the stage says; the camera's picture is behind it where it runs. */
  #state(state, reason = "") {
    const runs = this.#camera !== null;
    this.stage.dataset.state = state;
    this.stage.classList.toggle("over", runs);
    [at("notice-title").textContent, at("notice-text").textContent] = wordsOf(state, reason);
    at("notice").hidden = state === "running" || state === "connecting";
    at("start").hidden = runs || state === "asking";
    for (const id of ["pause", "stop"]) at(id).disabled = !runs;
    this.#badge(state === "connecting" ? "Connecting" : "");
    this.#tell("");
  }

  #badge(text) {
    at("badge").textContent = this.#paused ? "Paused" : text;
    at("badge").hidden = !at("badge").textContent;
  }

  #tell(text, fault = false) {
    if (text === this.#told) return;
    this.#told = text;
    at("live-status").textContent = text;
    at("live-status").classList.toggle("fault", fault);
  }

  async #devices(used = at("device").value) {
    if (!this.#camera) return;
    const found = await cameras();
    at("device").replaceChildren(
      ...found.map(({ deviceId, label }, i) => new Option(label || `Camera ${i + 1}`, deviceId)),
    );
    at("device").value = used;
    at("device-label").hidden = found.length < 2;
  }

  #setMirror(mirror) {
    this.mirror = mirror;
    at("mirror").setAttribute("aria-pressed", String(mirror));
    this.stage.classList.toggle("mirrored", mirror);
    this.#redraw();
  }

  #snapshot() {
    const {
      answer,
      frame: { canvas },
    } = this.#shown;
    const { width, height } = canvas;
    const marked = annotated(canvas, answer.faces, this.settings, {
      width,
      height,
      mirror: this.mirror,
      numbered: answer.faces.length > 1,
    });
    savePng(marked, `mien-${timeStamp()}.png`);
    this.#tell("The snapshot was saved.");
  }

  #json() {
    const frames = this.history.log.map(({ faces, ...frame }) => ({
      ...frame,
      faces: faces.map((face) => asShown(face, this.settings)),
    }));
    saveJson({ ...heading(this.settings, this.licence), frames }, `mien-${timeStamp()}.json`);
  }
}
