// Small tools of the page. Text reaches the document as text and as attributes alone, never as markup.

let ids = 0;
const fresh = (name) => `rl-${name}-${ids++}`;

/** An element with properties, attributes (by `set`) and children; strings among them become text. */
function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  const { set = {}, on = {}, ...own } = props;
  Object.assign(made, own);
  for (const [name, value] of Object.entries(set)) if (value !== null && value !== undefined) made.setAttribute(name, value);
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The place of an element's children: filled anew only where what they are made of has changed. */
function place(element) {
  let known = "";
  return (data, make) => {
    const text = JSON.stringify(data);
    if (text === known) return false;
    known = text;
    element.replaceChildren(...[make(data)].flat());
    return true;
  };
}

/** A value for a field, unless somebody is typing in it. */
function fill(input, value) {
  if (input.getRootNode().activeElement !== input || input.type === "range") if (input.value !== value) input.value = value;
}

/** A badge with a chip's letter in its colour. */
function badge(letter, colour) {
  const made = h("span", { className: "badge", textContent: letter, set: { "aria-hidden": "true" } });
  made.style.background = colour;
  return made;
}

/** A labelled field: the label above, the input below. */
function labelled(text, input, className = "field") {
  input.id = input.id || fresh("field");
  return h("div", { className }, h("label", { textContent: text, htmlFor: input.id }), input);
}

/** A list of choices; the first stands for none. */
function choices(none, values) {
  return [h("option", { value: "", textContent: none }), ...values.map((value) => h("option", { value, textContent: value }))];
}

/** A table as plain data, with a heading for whoever reads it aloud. */
function table(data) {
  const cell = (tag, text, column, extra = {}) =>
    h(tag, { className: column.right ? "right" : "", textContent: text, ...extra });
  const head = data.columns.map((column) => cell("th", column.text, column, { scope: "col" }));
  const rows = data.rows.map((row) =>
    h("tr", {}, ...row.map((text, i) => (i ? cell("td", text, data.columns[i]) : cell("th", text.replaceAll(".", ".\u200b"), data.columns[i], { scope: "row" })))),
  );
  const made = h("table", {}, h("caption", { textContent: data.title }), h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
  const scroll = h("div", { className: "scroll", tabIndex: 0, set: { role: "region", "aria-label": data.title } }, made);
  return [scroll, ...data.notes.map((note) => h("p", { className: "note", textContent: note }))];
}

/** Put text where another program can paste it. */
async function copy(text, button) {
  const was = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it below";
  }
  setTimeout(() => (button.textContent = was), 1500);
}

/** Hand a file to the browser, as if it came from a link. */
function save(name, mime, data) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: mime }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
