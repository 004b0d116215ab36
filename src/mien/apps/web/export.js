// Files to take away: tables as `mien predict` and `mien video` write them, JSON, pictures.

const BOX = ["x0", "y0", "x1", "y1"];

/** Save a file by the browser. */
export function download(content, name, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  // The browser has begun to read by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export const saveCsv = (columns, rows, name) => download(csv(columns, rows), name, "text/csv;charset=utf-8");
export const saveJson = (value, name) =>
  download(`${JSON.stringify(value, null, 1)}\n`, name, "application/json");

/** Save a canvas as PNG. */
export function savePng(canvas, name) {
  canvas.toBlob((blob) => download(blob, name), "image/png");
}

/** A name for a file that comes from another: "photo.jpg" -> "photo-faces.csv". */
export const nameAfter = (name, ending) => `${name.replace(/\.[^.]*$/, "") || "mien"}-${ending}`;

/** 2026-11-25T10-30-00, by the local clock. */
export function timeStamp() {
  const now = new Date();
  const local = new Date(now - 60_000 * now.getTimezoneOffset());
  return local.toISOString().slice(0, 19).replaceAll(":", "-");
}

/** Text as CSV (RFC 4180), a header first; empty for null. */
export function csv(columns, rows) {
  const lines = rows.map((row) => columns.map((name) => cell(row[name])).join(","));
  return [columns.map(cell).join(","), ...lines, ""].join("\n");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  // A spreadsheet would take such a text, a file's name say, as a formula and run it.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const rounded = (value, digits) => Number(value.toFixed(digits));

/** The cells of one face, without those that say which picture or frame it is of. */
function faceCells(face, settings) {
  return {
    emotion: face.emotion,
    confidence: rounded(face.confidence, 6),
    abstained: settings.unsure(face),
    ...Object.fromEntries(BOX.map((name, i) => [name, rounded(face.box[i], 2)])),
    detection_score: face.detection_score === null ? null : rounded(face.detection_score, 6),
    ...Object.fromEntries(
      Object.entries(face.probabilities).map(([name, p]) => [`p.${name}`, rounded(p, 6)]),
    ),
  };
}

const FACE = ["emotion", "confidence", "abstained", ...BOX, "detection_score"];
const shares = (labels) => labels.map((name) => `p.${name}`);

/** Columns and rows of pictures: {name, answer, error} each, as `mien predict --csv` writes them. */
export function pictureTable(pictures, settings) {
  const columns = ["path", "faces", "face", ...FACE, ...shares(settings.model.labels), "error"];
  const rows = pictures.flatMap(({ name, answer, error }) => {
    const faces = answer?.faces ?? [];
    const start = { path: name, faces: error ? null : faces.length, error: error ?? null };
    return faces.length
      ? faces.map((face, place) => ({ ...start, face: place, ...faceCells(face, settings) }))
      : [start];
  });
  return [columns, rows];
}

/** Columns and rows of frames: {frame, time, faces} each, as `mien video` writes them, without smoothing. */
export function frameTable(frames, settings) {
  const columns = ["frame", "time", "track", ...FACE, ...shares(settings.model.labels)];
  const rows = frames.flatMap(({ frame, time, faces }) => {
    const start = { frame, time: rounded(time, 6) };
    return faces.length
      ? faces.map((face) => ({ ...start, track: face.track, ...faceCells(face, settings) }))
      : [start];
  });
  return [columns, rows];
}

/** What a JSON file says of the model and the settings. */
export function heading(settings, licence) {
  const { name, sha256, labels } = settings.model;
  return { model: name, sha256, labels, licence, ...settings.values };
}

/** A face with the slider's verdict. */
export const asShown = (face, settings) => ({ ...face, abstained: settings.unsure(face) });
