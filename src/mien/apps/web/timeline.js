// A face's probabilities over time: one row a class, in line with the bars, so that no colour has to be told
// from another.

import { colourOf, themed } from "./labels.js";

export const ROW = 22; // CSS pixels, the height of a bar's row in style.css
const AXIS = 18;
const GAP = 1; // seconds without the face that are left empty

/** Draws onto one canvas. */
export class Timeline {
  constructor(canvas, labels) {
    this.canvas = canvas;
    this.labels = labels;
  }

  /**
   * points: {time, probabilities} in order; from, to: seconds at the edges; ticks: [seconds, words] each.
   */
  draw(points, classes, { from, to, ticks }) {
    const width = this.canvas.clientWidth,
      height = classes.length * ROW + AXIS;
    if (!width) return;
    const context = this.#sized(width, height);
    const place = (time) => ((time - from) / (to - from)) * width;
    this.#grid(context, classes, width, ticks, place);
    const runs = runsOf(
      points.filter(({ time }) => time >= from - GAP && time <= to),
      place,
    );
    classes.forEach((name, row) => {
      context.fillStyle = context.strokeStyle = colourOf(name, this.labels);
      for (const run of runs) area(context, run, name, (row + 1) * ROW - 3, width);
    });
  }

  #sized(width, height) {
    const { canvas } = this,
      dense = devicePixelRatio || 1;
    const w = Math.round(width * dense),
      h = Math.round(height * dense);
    if (canvas.width !== w || canvas.height !== h) {
      Object.assign(canvas, { width: w, height: h });
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  #grid(context, classes, width, ticks, place) {
    context.fillStyle = themed("--rule");
    classes.forEach((_, row) => context.fillRect(0, (row + 1) * ROW - 3, width, 1));
    context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
    context.textBaseline = "top";
    let free = -Infinity;
    for (const [time, words] of ticks) {
      const x = place(time),
        size = context.measureText(words).width;
      context.fillStyle = themed("--rule");
      context.fillRect(Math.min(width - 1, x), 0, 1, classes.length * ROW);
      const left = Math.min(width - size, Math.max(0, x - size / 2));
      if (left < free) continue;
      context.fillStyle = themed("--soft");
      context.fillText(words, left, classes.length * ROW + 3);
      free = left + size + 8;
    }
  }
}

/** Points joined where the face was there, at most one in a pixel: [[x, probabilities], ...] each. */
function runsOf(points, place) {
  const runs = [];
  let last = null;
  for (const point of points) {
    const x = place(point.time);
    if (last === null || point.time - last.time > GAP) runs.push([]);
    else if (x - last.x < 0.75) continue;
    runs.at(-1).push([x, point.probabilities]);
    last = { x, time: point.time };
  }
  return runs;
}

function area(context, run, name, base, width) {
  const full = ROW - 6;
  const height = (shares) => full * (shares[name] ?? 0);
  if (run.length === 1) {
    context.fillRect(Math.min(width - 2, run[0][0]), base - height(run[0][1]), 2, height(run[0][1]));
    return;
  }
  context.beginPath();
  context.moveTo(run[0][0], base);
  for (const [x, shares] of run) context.lineTo(x, base - height(shares));
  context.lineTo(run.at(-1)[0], base);
  context.closePath();
  context.globalAlpha = 0.8;
  context.fill();
  context.globalAlpha = 1;
  context.beginPath();
  run.forEach(([x, shares], i) => context[i ? "lineTo" : "moveTo"](x, base - height(shares)));
  context.lineWidth = 1.25;
  context.stroke();
}

/** Round times at which a long timeline is marked: [seconds, words] each. */
export function ticksOf(from, to, words) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => (to - from) / s <= 8) ?? 1800;
  const ticks = [];
  for (let time = Math.ceil(from / step) * step; time <= to + 1e-6; time += step)
    ticks.push([time, words(time)]);
  return ticks;
}
