// The API's page, from its own description.

import { make } from "./labels.js";

const at = (id) => document.getElementById(id);

/** Text in which backticks mark code. */
const words = (text) =>
  text.split("`").map((part, i) => (i % 2 ? make("code", { textContent: part }) : part));

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
  if (schema.prefixItems) return [`${schema.prefixItems.length} of `, ...kind(schema.prefixItems[0])];
  if (schema.type === "array") return ["list of ", ...kind(schema.items ?? {})];
  if (schema.format === "binary") return ["file"];
  if (schema.additionalProperties?.type) return ["name to ", ...kind(schema.additionalProperties)];
  return [schema.type ?? "anything", ...limits(schema)];
}

function limits({ minimum, maximum }) {
  return minimum === undefined || maximum === undefined ? [] : [` ${minimum}..${maximum}`];
}

function table(caption, head, rows) {
  const body = rows.map(([name, ...cells]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", className: "words" }, make("code", { textContent: name })),
      ...cells.map((cell) => make("td", { className: "words" }, ...cell)),
    ),
  );
  const scroll = make(
    "div",
    { className: "scroll", tabIndex: 0 },
    make(
      "table",
      {},
      make("caption", { textContent: caption }),
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ...head.map((text) => make("th", { scope: "col", className: "words", textContent: text })),
        ),
      ),
      make("tbody", {}, ...body),
    ),
  );
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  return scroll;
}

function operation(method, path, { summary, description, parameters = [], requestBody, responses }) {
  const title = `${method.toUpperCase()} ${path}`;
  const section = make(
    "section",
    {},
    make("h2", {}, make("code", { textContent: title })),
    make("p", {}, ...words(`${summary}. ${description ?? ""}`)),
  );
  if (requestBody)
    section.append(make("p", { textContent: `Body: ${Object.keys(requestBody.content).join(", ")}` }));
  if (parameters.length) {
    section.append(
      table(
        `Parameters of ${title}`,
        ["Name", "Value", "Default", "What it does"],
        parameters.map(({ name, schema, description: text }) => [
          name,
          kind(schema),
          [String(schema.default ?? "–")],
          words(text ?? schema.description ?? ""),
        ]),
      ),
    );
  }
  section.append(
    table(
      `Answers of ${title}`,
      ["Status", "When", "Body"],
      Object.entries(responses).map(([status, { description: when, content = {} }]) => [
        status,
        words(when === "Successful Response" ? "It went well." : when),
        Object.entries(content).flatMap(([type, { schema }]) => (schema?.$ref ? kind(schema) : [type])),
      ]),
    ),
  );
  return section;
}

function schema(name, { description = "", properties = {}, required = [] }) {
  const rows = Object.entries(properties).map(([key, value]) => [
    required.includes(key) ? key : `${key}?`,
    kind(value),
    words(value.description ?? ""),
  ]);
  const section = make(
    "section",
    { id: name },
    make("h3", { textContent: name }),
    make("p", {}, ...words(description)),
  );
  if (rows.length) section.append(table(`Fields of ${name}`, ["Field", "Value", "What it is"], rows));
  return section;
}

async function show() {
  at("example").textContent = `curl --data-binary @photo.jpg ${new URL("v1/predict", document.baseURI)}`;
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const { info, paths, components } = await response.json();
  at("description").textContent = info.description;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, told] of Object.entries(methods)) at("paths").append(operation(method, path, told));
  }
  for (const [name, told] of Object.entries(components?.schemas ?? {}))
    at("schemas").append(schema(name, told));
  document.documentElement.dataset.ready = "true";
}

show().catch(() => {
  at("failed").textContent =
    "The description of the API cannot be loaded; load this page again when the server answers.";
});
