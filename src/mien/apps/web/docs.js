// The API's page, from its own description (/openapi.json).

import { keepToken, token, tokenFromAddress } from "./api.js";
import { Trial } from "./docs-try.js";
import { make } from "./labels.js";

const at = (id) => document.getElementById(id);

/** Text in which backticks mark code. */
const words = (text) =>
  text.split("`").map((part, i) => (i % 2 ? make("code", { textContent: part }) : part));

/** A sentence, whose first part a description may lack. */
const prose = (summary, description) => [`${summary}.`, description].filter(Boolean).join(" ");

/** A schema in a few words; `$ref`s become links. */
function kind(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [make("a", { href: `#${name}`, textContent: name })];
  }
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return either.flatMap((one, i) => [...(i ? [" or "] : []), ...kind(one)]);
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.prefixItems) return [`list of ${schema.prefixItems.length} `, ...kind(schema.prefixItems[0])];
  if (schema.type === "array") return ["list of ", ...kind(schema.items ?? {})];
  if (schema.format === "binary") return ["file"];
  if (typeof schema.additionalProperties === "object") return ["name to ", ...kind(schema.additionalProperties)];
  return [schema.type ?? "anything", ...limits(schema)];
}

function limits({ minimum, maximum }) {
  return minimum === undefined || maximum === undefined ? [] : [` ${minimum}..${maximum}`];
}

function table(caption, head, rows) {
  const row = ([name, ...cells]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", className: "words" }, make("code", { textContent: name })),
      ...cells.map((cell) => make("td", { className: "words" }, ...cell)),
    );
  const headings = head.map((text) =>
    make("th", { scope: "col", className: "words", textContent: text }),
  );
  const whole = make(
    "table",
    {},
    make("caption", { textContent: caption }),
    make("thead", {}, make("tr", {}, ...headings)),
    make("tbody", {}, ...rows.map(row)),
  );
  // What scrolls can be reached by keyboard, and has a name.
  const scroll = make("div", { className: "scroll", tabIndex: 0 }, whole);
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  return scroll;
}

function parametersTable(title, parameters) {
  const rows = parameters.map(({ name, schema, description }) => [
    name,
    kind(schema),
    [String(schema.default ?? "–")],
    words(description ?? ""),
  ]);
  return table(`Parameters of ${title}`, ["Name", "Value", "Default", "What it does"], rows);
}

function bodyTable(title, { content }) {
  const rows = Object.entries(content).map(([type, { schema }]) => [
    type,
    schema.properties
      ? Object.entries(schema.properties).flatMap(([name, value]) => [
          make("code", { textContent: name }),
          ": ",
          ...kind(value),
        ])
      : kind(schema),
  ]);
  return table(`Body of ${title}`, ["Content type", "What it is"], rows);
}

function answersTable(title, responses) {
  const rows = Object.entries(responses).map(([status, { description, content = {} }]) => [
    status,
    words(description === "Successful Response" ? "It went well." : description),
    Object.entries(content).flatMap(([type, { schema }]) =>
      schema?.$ref || schema?.oneOf ? kind(schema) : [type],
    ),
  ]);
  return table(`Answers of ${title}`, ["Status", "When", "Body"], rows);
}

function operation(id, method, path, told) {
  const { summary, description, parameters = [], requestBody, responses } = told;
  const title = `${method.toUpperCase()} ${path}`;
  const heading = make("h2", { id: `${id}-title` }, make("code", { textContent: title }));
  const section = make(
    "section",
    { id, className: "operation" },
    heading,
    make("p", {}, ...words(prose(summary, description))),
  );
  section.setAttribute("aria-labelledby", heading.id);
  if (parameters.length) section.append(parametersTable(title, parameters));
  if (requestBody) section.append(bodyTable(title, requestBody));
  section.append(answersTable(title, responses));
  section.append(new Trial(id, method, path, told).element);
  return section;
}

function shape(name, { description = "", properties = {}, required = [] }) {
  const rows = Object.entries(properties).map(([key, value]) => [
    required.includes(key) || "const" in value ? key : `${key}?`,
    kind(value),
    words(value.description ?? ""),
  ]);
  return make(
    "details",
    { id: name, className: "shape" },
    make("summary", { textContent: name }),
    make("p", {}, ...words(description)),
    ...(rows.length ? [table(`Fields of ${name}`, ["Field", "Value", "What it is"], rows)] : []),
  );
}

/** Links to the operations: those that read faces, and those about the service. */
function contents(links) {
  const stream = { id: "stream", title: "WS /v1/stream", reads: true };
  const list = (name, ones) =>
    make(
      "div",
      {},
      make("strong", { textContent: name }),
      make(
        "ul",
        {},
        ...ones.map(({ id, title }) => make("li", {}, make("a", { href: `#${id}`, textContent: title }))),
      ),
    );
  const all = [...links, stream];
  return [
    list(
      "Reading faces",
      all.filter(({ reads }) => reads),
    ),
    list(
      "The service",
      all.filter(({ reads }) => !reads),
    ),
  ];
}

/** A link to something folded unfolds it. */
function unfold() {
  const target = at(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName !== "DETAILS") return;
  target.open = true;
  target.scrollIntoView();
}

async function show() {
  tokenFromAddress();
  at("token").value = token() ?? "";
  at("token-form").addEventListener("submit", (event) => event.preventDefault());
  at("token").addEventListener("input", () => {
    keepToken(at("token").value);
    dispatchEvent(new Event("tokenchange"));
  });
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const { info, paths, components } = await response.json();
  at("description").textContent = info.description;
  at("version").textContent = `version ${info.version}`;
  const links = [];
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, told] of Object.entries(methods)) {
      const id = `${method}${path.replaceAll("/", "-")}`;
      links.push({ id, title: `${method.toUpperCase()} ${path}`, reads: "requestBody" in told });
      at("paths").append(operation(id, method, path, told));
    }
  }
  at("contents").append(...contents(links));
  for (const [name, told] of Object.entries(components?.schemas ?? {}))
    at("schemas").append(shape(name, told));
  addEventListener("hashchange", unfold);
  unfold();
  document.documentElement.dataset.ready = "true";
}

show().catch(() => {
  at("failed").textContent =
    "The description of the API cannot be loaded; load this page again when the server answers.";
});
