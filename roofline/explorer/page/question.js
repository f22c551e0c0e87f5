// The left side: the model, the chips, the options, and the sliders of one chip.

const LARGEST = 2_000_000;

function question(send) {
  const model = h("input", { set: { list: "rl-models", autocomplete: "off", spellcheck: "false" } });
  model.addEventListener("change", () => model.value.trim() && send({ do: "model", value: model.value }));
  const models = h("datalist", { id: "rl-models" });
  const chipNames = h("datalist", { id: "rl-chips" });
  const title = h("p", { className: "hint" });

  const file = h("input", { type: "file", id: fresh("file"), set: { accept: ".json,.toml" } });
  const drop = h("div", { className: "drop" }, h("label", { htmlFor: file.id, textContent: "Or drop a file: config.json, TOML of a chip or model" }), file);
  const take = async (one) => {
    if (!one) return;
    if (one.size > LARGEST) return send({ do: "large", name: one.name });
    send({ do: "file", name: one.name, text: await one.text() });
    file.value = "";
  };
  file.addEventListener("change", () => take(file.files[0]));
  drop.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });

  const chips = h("ol", { className: "chips" });
  const add = h("button", { type: "button", textContent: "Add a chip beside", on: { click: () => send({ do: "add" }) } });
  const usual = h("div", { className: "fields" });
  const tucked = h("div", { className: "fields" });
  const sliders = knobs(send);

  const element = h(
    "form",
    { className: "question", set: { "aria-label": "The question" }, on: { submit: (event) => event.preventDefault() } },
    models, chipNames,
    h("h2", { textContent: "Model" }), labelled("Model (type to search)", model), title, drop,
    h("h2", { textContent: "Chips" }), chips, add,
    h("h2", { textContent: "Workload" }), usual,
    h("details", {}, h("summary", { textContent: "More options" }), tucked),
    sliders.element,
  );

  const inputs = new Map();
  const shape = { models: place(models), chips: place(chipNames), picks: place(chips), usual: place(usual), tucked: place(tucked) };
  let cards = [];

  function field(one) {
    let input;
    if (one.kind === "choice") input = h("select", {}, ...choices("default", one.choices));
    else if (one.kind === "flag") input = h("select", {}, ...choices("default", ["true", "false"]));
    else input = h("input", { inputMode: one.kind === "whole" ? "numeric" : "decimal", set: { autocomplete: "off", placeholder: one.usual || "default" } });
    input.addEventListener("change", () => send({ do: "option", name: one.name, value: input.value }));
    input.name = one.name;
    inputs.set(one.name, input);
    return labelled(one.label, input);
  }

  function card(index, one) {
    const name = h("input", { name: `chip${index + 1}`, set: { list: "rl-chips", autocomplete: "off", spellcheck: "false", "aria-label": `Chip ${one.letter}` } });
    name.addEventListener("change", () => name.value.trim() && send({ do: "chip", chip: index, value: name.value }));
    const stack = h("select", { name: `stack${index + 1}`, set: { "aria-label": `Software on chip ${one.letter}` } });
    stack.addEventListener("change", () => send({ do: "stack", chip: index, value: stack.value }));
    const focus = h("button", { type: "button", textContent: "Figures", set: { "aria-label": `Show the figures of chip ${one.letter}` }, on: { click: () => send({ do: "focus", chip: index }) } });
    const reset = h("button", { type: "button", textContent: "Reset", set: { "aria-label": `Reset chip ${one.letter} to its descriptor` }, on: { click: () => send({ do: "reset", chip: index }) } });
    const remove = h("button", { type: "button", textContent: "Remove", set: { "aria-label": `Remove chip ${one.letter}` }, on: { click: () => send({ do: "remove", chip: index }) } });
    const about = h("p", { className: "hint" });
    const stacks = place(stack);
    const element = h("li", {}, badge(one.letter, one.colour), h("div", { className: "card" }, name, stack, about, h("div", { className: "buttons" }, focus, reset, remove)));
    const update = (now, all) => {
      fill(name, now.name);
      stacks([now.stacks, now.took], () => choices(now.took ? `software: ${now.took} (best known)` : "software: as the chip has it", now.stacks));
      stack.value = now.stack;
      about.textContent = now.title + (now.changes ? `, ${now.changes} changed` : "");
      focus.setAttribute("aria-pressed", String(all.focus === index));
      element.classList.toggle("focused", all.focus === index);
      reset.disabled = !now.changes;
      remove.hidden = all.picks.length === 1;
    };
    return { element, update };
  }

  function update(form) {
    shape.models(form.models, () => form.models.map((value) => h("option", { value })));
    shape.chips(form.chips, () => form.chips.map((value) => h("option", { value })));
    fill(model, form.model);
    title.textContent = form.title;
    shape.picks(form.picks.map((one) => one.letter), () => (cards = form.picks.map((one, i) => card(i, one))).map((one) => one.element));
    cards.forEach((one, i) => one.update(form.picks[i], form));
    add.disabled = form.full;
    const names = (part) => part.map((one) => one.name);
    const [near, far] = [form.fields.filter((one) => !one.tucked), form.fields.filter((one) => one.tucked)];
    shape.usual(names(near), () => near.map(field));
    shape.tucked(names(far), () => far.map(field));
    for (const one of form.fields) fill(inputs.get(one.name), one.value);
  }
  return { element, update, knobs: sliders.update };
}

/** The sliders of one chip: each sends where it stands, and is told what that comes to. */
function knobs(send) {
  const heading = h("h2", { textContent: "Figures" });
  const few = window.matchMedia("(max-width: 820px)").matches;
  const hint = h("p", { className: "hint", textContent: "Those first that matter most to this workload." });
  const hardware = h("div", { className: "knobs" });
  const parameters = h("div", { className: "knobs" });
  const more = h("details", {}, h("summary", { textContent: "Parameters of the cost model" }), parameters);
  const element = h("section", { set: { "aria-label": "Figures of the chip" } }, heading, hint, h("details", { open: !few }, h("summary", { textContent: "Sliders" }), hardware), more);
  const shape = { hardware: place(hardware), parameters: place(parameters) };
  const rows = new Map();

  function knob(one, chip) {
    const range = h("input", { type: "range", id: fresh("knob"), min: 0, max: one.steps, step: 1, set: { "data-path": one.path } });
    const text = h("input", { className: "value", set: { autocomplete: "off", "aria-label": `${one.path}, its value` } });
    const reset = h("button", { type: "button", textContent: "Reset", set: { "aria-label": `Reset ${one.path}` } });
    const about = h("p", { className: "hint" });
    range.addEventListener("input", () => send({ do: "knob", chip, path: one.path, at: Number(range.value) }));
    text.addEventListener("change", () => send({ do: "figure", chip, path: one.path, value: text.value }));
    reset.addEventListener("click", () => send({ do: "figure", chip, path: one.path, value: "" }));
    const element = h(
      "div", { className: "knob" },
      h("div", { className: "line" }, h("label", { htmlFor: range.id, textContent: one.path.replaceAll(".", ".\u200b") }), text, reset),
      range, about,
    );
    const update = (now) => {
      fill(range, String(now.at));
      range.setAttribute("aria-valuetext", now.text);
      fill(text, now.text);
      reset.disabled = !now.changed;
      element.classList.toggle("changed", now.changed);
      const parts = [now.ofOneCore ? "of one core" : "", now.changed ? `descriptor: ${now.ownText}` : "", now.believed ? `believed ${now.believed}` : "", now.from ? `${now.kind}, of ${now.from}` : now.kind, now.moves ? `1 % moves the result ${now.moves}` : ""];
      about.textContent = parts.filter(Boolean).join("; ");
      about.append(" ", h("span", { className: "source", textContent: `Source: ${now.source}` }));
      about.title = [now.source, now.note].filter(Boolean).join("\n");
    };
    return { element, update };
  }

  function update(data) {
    heading.textContent = `Figures of ${data.label}`;
    hint.hidden = !data.knobs.length;
    const groups = { hardware: data.knobs.filter((one) => !one.parameter), parameters: data.knobs.filter((one) => one.parameter) };
    for (const [name, group] of Object.entries(groups))
      shape[name]([data.chip, data.label, group.map((one) => one.path)], () =>
        group.map((one) => {
          const made = knob(one, data.chip);
          rows.set(one.path, made);
          return made.element;
        }),
      );
    for (const one of data.knobs) rows.get(one.path).update(one);
    more.hidden = !groups.parameters.length;
  }
  return { element, update };
}
