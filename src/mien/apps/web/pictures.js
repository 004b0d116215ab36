// Pictures with their faces marked, and a table of all faces.

import { predict } from "./api.js";
import {
  asShown,
  heading,
  nameAfter,
  pictureTable,
  saveCsv,
  saveJson,
  savePng,
  timeStamp,
} from "./export.js";
import { count, make, percent } from "./labels.js";
import { annotated, describe } from "./overlay.js";

const AT_ONCE = 2;
const CARD = 720; // pixels of the longer side of a picture in the page

const decoded = (file, size = {}) => createImageBitmap(file, { imageOrientation: "from-image", ...size });

/** A picture as large as it is shown; many whole ones would fill the memory. */
function small(file, { width, height }) {
  const shrink = Math.min(1, CARD / Math.max(width, height));
  const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.max(1, Math.round(shrink * side)));
  return decoded(file, { resizeWidth, resizeHeight, resizeQuality: "high" });
}

export class Pictures {
  #read = [];

  constructor(settings, licence) {
    this.settings = settings;
    this.licence = licence;
    this.cards = document.getElementById("pictures");
    this.table = document.getElementById("table-scroll");
    addEventListener("themechange", () => this.redraw());
  }

  /** Whether there is something to show. */
  get any() {
    return this.#read.some(({ answer, error }) => answer || error);
  }

  clear() {
    for (const { bitmap } of this.#read) bitmap?.close();
    this.#read = [];
    this.cards.replaceChildren();
    this.table.replaceChildren();
  }

  ended() {
    this.#read = this.#read.filter(({ answer, error }) => answer || error);
    this.redraw();
  }

  /** Read files, some at once; `tell` is called with how many are done. */
  async read(files, limits, signal, tell) {
    const { query } = this.settings;
    const items = (this.#read = files.map((file) => ({
      file,
      name: file.name,
      answer: null,
      error: null,
      bitmap: null,
    })));
    for (const item of items)
      this.cards.append((item.card = make("figure", { className: "picture", hidden: true })));
    let next = 0,
      done = 0;
    const work = async () => {
      while (next < items.length) {
        const item = items[next++];
        await this.#one(item, query, limits, signal);
        signal.throwIfAborted();
        this.#draw(item);
        tell(++done);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.#table();
    const good = items.filter(({ answer }) => answer);
    return { read: good.length, faces: good.reduce((sum, { answer }) => sum + answer.faces.length, 0) };
  }

  async #one(item, query, limits, signal) {
    try {
      if (item.file.size > limits.picture_bytes) throw new Error("The file is larger than the server takes.");
      item.answer = await predict(item.file, query, signal);
      item.error = item.answer.error?.message ?? null;
      if (item.error) item.answer = null;
      else item.bitmap = await small(item.file, item.answer).catch(() => null);
    } catch (error) {
      // Each file would fail alike where the server is gone.
      if (error.name === "AbortError" || error.code === "gone") throw error;
      item.error = error.message;
    }
  }

  /** Show what is unsure now. */
  redraw() {
    for (const item of this.#read) if (item.answer || item.error) this.#draw(item);
    if (this.#read.length) this.#table();
  }

  #draw({ file, card, name, answer, error, bitmap }) {
    const words = make("figcaption", {}, make("span", { className: "name", textContent: name }));
    card.hidden = false;
    card.replaceChildren(words);
    if (error) return words.append(make("span", { className: "fault", textContent: error }));
    const { width, height, faces, faces_found: found } = answer;
    const said = describe(faces, this.settings);
    const others = found > faces.length ? `; ${found - faces.length} more were found and not read` : "";
    words.append(
      make("span", {
        className: "soft",
        textContent: `${count(faces.length, "face")}${faces.length ? `: ${said}` : ""}${others}`,
      }),
    );
    if (!bitmap) {
      return words.append(
        make("span", {
          className: "soft",
          textContent: "This browser cannot show pictures of this kind; the table has its faces.",
        }),
      );
    }
    const canvas = annotated(bitmap, faces, this.settings, { width, height, most: CARD });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name}: ${said}`);
    card.prepend(canvas);
    const button = make("button", { type: "button", className: "small", textContent: "Annotated picture" });
    button.setAttribute("aria-label", `Annotated picture of ${name}`);
    button.addEventListener("click", async () => {
      const whole = await decoded(file);
      savePng(annotated(whole, faces, this.settings, { width, height }), nameAfter(name, "faces.png"));
      whole.close();
    });
    return words.append(button);
  }

  #table() {
    const { labels } = this.settings;
    const head = (text, words) =>
      make("th", { scope: "col", textContent: text, className: words ? "words" : "" });
    const body = make("tbody");
    for (const { name, answer, error } of this.#read) {
      const faces = answer?.faces ?? [];
      if (!faces.length) {
        const note = make("td", {
          className: "words",
          textContent: error ? "not read" : "no face",
          colSpan: labels.length + 3,
        });
        body.append(
          make("tr", {}, make("th", { scope: "row", className: "words", textContent: name }), note),
        );
      }
      faces.forEach((face, place) => {
        const cells = [
          place + 1,
          this.settings.unsure(face) ? `unsure (${face.emotion})` : face.emotion,
          percent(face.confidence),
          ...labels.map((label) => percent(face.probabilities[label] ?? 0)),
        ];
        const row = cells.map((text, i) =>
          make("td", { textContent: text, className: i === 1 ? "words" : "" }),
        );
        body.append(
          make("tr", {}, make("th", { scope: "row", className: "words", textContent: name }), ...row),
        );
      });
    }
    this.table.replaceChildren(
      make(
        "table",
        {},
        make("caption", { textContent: "Every face, with the confidence of each class" }),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            head("Picture", true),
            head("Face"),
            head("Look", true),
            head("Confidence"),
            ...labels.map((name) => head(name)),
          ),
        ),
        body,
      ),
    );
  }

  #name(ending) {
    return this.#read.length === 1
      ? nameAfter(this.#read[0].name, `faces.${ending}`)
      : `mien-${timeStamp()}.${ending}`;
  }

  saveCsv() {
    saveCsv(...pictureTable(this.#read, this.settings), this.#name("csv"));
  }

  saveJson() {
    const files = this.#read.map(({ name, answer, error }) => ({
      path: name,
      error,
      width: answer?.width ?? null,
      height: answer?.height ?? null,
      faces: (answer?.faces ?? []).map((face) => asShown(face, this.settings)),
    }));
    saveJson({ ...heading(this.settings, this.licence), files }, this.#name("json"));
  }
}
