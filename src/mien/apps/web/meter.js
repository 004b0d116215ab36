// How fast frames come and are answered.

const WINDOW = 2000; // milliseconds over which rates are means
const SHOW = 500;
const FAR_BELOW = 0.4; // of the camera's rate

const mean = (values) =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;

/** Calls `show` twice a second while it runs. */
export class Meter {
  #answers = [];
  #camera = [];
  #timer = 0;
  #began = 0;

  constructor(show) {
    this.show = show;
  }

  /** Begin anew. */
  start() {
    this.stop();
    this.#began = performance.now();
    this.#timer = setInterval(() => {
      this.#forget();
      this.show();
    }, SHOW);
  }

  stop() {
    clearInterval(this.#timer);
    this.#answers = [];
    this.#camera = [];
    this.show();
  }

  camera(frames) {
    this.#camera.push([performance.now(), frames]);
  }

  answered(latency, reading) {
    this.#answers.push([performance.now(), latency, reading]);
  }

  /** Answers a second; null before the first. */
  get rate() {
    return this.#answers.length ? this.#perSecond(this.#answers.length) : null;
  }

  get cameraRate() {
    return this.#camera.length
      ? this.#perSecond(this.#camera.reduce((sum, [, frames]) => sum + frames, 0))
      : null;
  }

  /** Milliseconds from a frame's being taken to its being shown. */
  get latency() {
    return mean(this.#answers.map(([, latency]) => latency));
  }

  /** Milliseconds of it that the server read. */
  get reading() {
    return mean(this.#answers.map(([, , reading]) => reading));
  }

  /** Both rates where far fewer frames are answered than come; else null. */
  get slow() {
    const { rate, cameraRate } = this;
    if (performance.now() - this.#began < WINDOW || !rate || !cameraRate || rate > FAR_BELOW * cameraRate)
      return null;
    return { answered: Math.max(1, Math.round(rate)), camera: Math.round(cameraRate) };
  }

  #perSecond(number) {
    return (1000 * number) / Math.max(SHOW, Math.min(WINDOW, performance.now() - this.#began));
  }

  #forget() {
    const since = performance.now() - WINDOW;
    this.#answers = this.#answers.filter(([time]) => time >= since);
    this.#camera = this.#camera.filter(([time]) => time >= since);
  }
}
