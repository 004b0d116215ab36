// Boxes and words over pictures.

import { colourOf, inkOn, percent, themed } from "./labels.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/**
 * Draw the boxes of faces.
 *
 * faces: as the service gives them; labels: of the model; unsure: face -> bool; scale: canvas pixels for one
 * of the picture; left, top: where the picture begins; width, height: of the picture; mirror: boxes as a
 * mirror shows them, words not; text: its height in canvas pixels; numbered: whether the track is written too.
 */
export function drawMarks(
  context,
  faces,
  { labels, unsure, scale = 1, left = 0, top = 0, width, height, mirror = false, text, numbered = false },
) {
  context.font = `600 ${text}px ${FONT}`;
  context.textBaseline = "middle";
  context.lineWidth = Math.max(2, text / 6);
  for (const face of faces) {
    const [x0, y0, x1, y1] = face.box;
    const doubtful = unsure(face);
    const colour = doubtful ? themed("--emotion-neutral") : colourOf(face.emotion, labels);
    const x = left + scale * (mirror ? width - x1 : x0),
      y = top + scale * y0;
    const w = scale * (x1 - x0),
      h = scale * (y1 - y0);
    context.setLineDash(doubtful ? [text / 2, text / 3] : []);
    context.strokeStyle = "rgb(0 0 0 / .45)";
    context.lineWidth += 2;
    context.strokeRect(x, y, w, h);
    context.lineWidth -= 2;
    context.strokeStyle = colour;
    context.strokeRect(x, y, w, h);
    const words =
      (numbered && face.track ? `${face.track}  ` : "") +
      (doubtful ? "unsure" : `${face.emotion} ${percent(face.confidence)}`);
    write(context, words, colour, {
      x,
      y,
      w,
      h,
      text,
      right: left + scale * width,
      bottom: top + scale * height,
      left,
      top,
    });
  }
  context.setLineDash([]);
}

/** A name plate above a box, or below it, or within, always inside the picture. */
function write(context, words, colour, { x, y, w, h, text, left, top, right, bottom }) {
  const height = Math.round(1.6 * text),
    width = context.measureText(words).width + text;
  const half = context.lineWidth / 2;
  const plateX = Math.max(left, Math.min(x - half, right - width));
  let plateY = y - height;
  if (plateY < top) plateY = y + h + height <= bottom ? y + h : Math.min(y, bottom - height);
  context.fillStyle = colour;
  context.beginPath();
  context.roundRect(plateX, plateY, width, height, text / 4);
  context.fill();
  context.fillStyle = inkOn(colour);
  context.fillText(words, plateX + text / 2, plateY + height / 2 + 1);
}

/** Words for a picture's faces, for those who do not see it. */
export function describe(faces, settings) {
  if (!faces.length) return "no face";
  return faces
    .map((face) => {
      const guess = settings.unsure(face) ? "unsure" : `${face.emotion} ${percent(face.confidence)}`;
      return face.track ? `face ${face.track}: ${guess}` : guess;
    })
    .join(", ");
}

/** A canvas with a picture (anything that can be drawn) and its faces, `most` pixels long at most. */
export function annotated(
  source,
  faces,
  settings,
  {
    width,
    height,
    most = Infinity,
    mirror = false,
    numbered = false,
    canvas = document.createElement("canvas"),
  },
) {
  const scale = Math.min(1, most / Math.max(width, height));
  Object.assign(canvas, { width: Math.round(scale * width), height: Math.round(scale * height) });
  const context = canvas.getContext("2d");
  context.save();
  if (mirror) {
    context.translate(canvas.width, 0);
    context.scale(-1, 1);
  }
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  context.restore();
  const text = Math.max(13, Math.round(Math.min(canvas.width, canvas.height) / 28));
  const { labels } = settings.model;
  drawMarks(context, faces, {
    labels,
    unsure: (face) => settings.unsure(face),
    scale,
    width,
    height,
    mirror,
    text,
    numbered,
  });
  return canvas;
}
