// How classes and shares are written and coloured, everywhere alike.

const FALLBACK = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"];

let cached = new Map();
addEventListener("themechange", () => {
  cached = new Map();
});

/** A custom property of the page, as the theme has it. */
export function themed(property) {
  if (!cached.has(property)) {
    cached.set(property, getComputedStyle(document.documentElement).getPropertyValue(property).trim());
  }
  return cached.get(property);
}

/** The colour of a class (Okabe and Ito, 2008); a class of another model takes one by its place. */
export function colourOf(name, labels) {
  const own = themed(`--emotion-${name}`);
  return own || themed(`--emotion-${FALLBACK[Math.max(0, labels.indexOf(name)) % FALLBACK.length]}`);
}

/** Black or white, whichever is read better on a colour #rrggbb. */
export function inkOn(colour) {
  const [r, g, b] = [1, 3, 5]
    .map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#101418" : "#ffffff";
}

export const percent = (share) => `${Math.round(100 * share)} %`;

/** 65.2 -> "1:05". */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** What is said of a face. */
export function verdict(face, unsure) {
  const guess = `${face.emotion} ${percent(face.confidence)}`;
  return unsure ? `unsure (${guess})` : guess;
}

/** "1 face", "2 faces". */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
