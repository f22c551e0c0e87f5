// The right side: the headline, the pictures, the tables, the texts to copy and the files to keep.

function answer(send, child) {
  const alert = h("div", { className: "alert", set: { role: "alert" } });
  const status = h("p", { className: "status", set: { role: "status" } });
  const headline = h("div", {});
  const remarks = h("div", { className: "remarks" });
  const difference = h("div", {});
  const placements = h("div", {});
  const operators = h("div", {});
  const strip = h("div", { className: "strip", set: { "aria-hidden": "true" } });
  const fillIn = { headline: place(headline), remarks: place(remarks), difference: place(difference), placements: place(placements), operators: place(operators), strip: place(strip) };

  const axis = h("select", { name: "axis" });
  const result = h("select", { name: "result" });
  axis.addEventListener("change", () => send({ do: "axis", value: axis.value }));
  result.addEventListener("change", () => send({ do: "result", value: result.value }));
  const axes = place(axis), results = place(result);

  const go = h("button", { type: "button", className: "go", textContent: "Work out the frontier", on: { click: () => send({ do: "frontier" }) } });
  const stop = h("button", { type: "button", textContent: "Cancel", hidden: true, on: { click: () => send({ do: "cancel" }) } });
  const bar = h("progress", { max: 1, value: 0, hidden: true, set: { "aria-label": "The frontier" } });
  const said = h("span", { className: "hint", set: { role: "status" } });
  const lineSaid = h("p", { className: "hint", set: { role: "status" } });

  const picture = (name, label, ...more) => h("figure", { set: { "aria-label": label } }, ...more, h("div", { className: "canvas" }, child(name)));
  const section = (text, ...more) => {
    const id = fresh("part");
    return h("section", { className: "part", set: { "aria-labelledby": id } }, h("h2", { id, textContent: text }), ...more);
  };
  const placed = section("Placement and hit rates", placements);
  const differing = section("Chips side by side", difference);

  const texts = h("div", { className: "texts" });
  const copies = place(texts);
  const files = h("div", { className: "buttons" });
  const downloads = place(files);

  const element = h(
    "div", { className: "answer" },
    alert, status,
    section("Figures", headline, remarks),
    differing,
    h("div", { className: "pair" },
      section("Roofline", picture("roofline", "Roofline: the chips' ceilings as lines, operators as points; the same is in the table of operators")),
      h("div", {},
        section("Where the time goes", picture("breakdown", "Share of the time of each operator, phase by phase; the same is in the table of operators")),
        section("Memory of one chip", picture("memory", "What one chip holds, part by part, beside what the model may fill")))),
    h("div", { className: "pair" },
      section("Along an axis", h("div", { className: "fields" }, labelled("Figure", result), labelled("Over", axis)), lineSaid, picture("line", "The chosen figure along the chosen axis, with its 90 % interval; the same is in line.csv")),
      section("What matters", h("p", { className: "hint", textContent: "Percent of the result for a percent of each figure of the chip under the sliders." }), picture("tornado", "How much each figure of the chip moves the result; the same is in sensitivity.csv"))),
    placed,
    section("Latency against throughput", h("div", { className: "buttons" }, go, stop, bar, said), picture("frontier", "Plans and batches by latency and rate a chip, and those that no other beats; the same is in frontier.csv")),
    section("Operators", h("details", {}, h("summary", { textContent: "Every operator, as a table" }), operators)),
    section("Take it with you", texts, files),
  );

  /** What a phone keeps in sight while a slider is moved: a line a chip. */
  function brief(data) {
    const keys = data.rows.filter((row) => ["tpot_s", "tokens_per_s", "latency_s", "samples_per_s"].includes(row.name));
    return data.columns.map((one, i) => h("p", {}, badge(one.letter, one.colour), ` ${keys.map((row) => row.cells[i].text).join(" · ")} · ${data.bounds[i]}`));
  }

  function figures(data) {
    fillIn.strip([data.columns, data.rows, data.bounds], () => brief(data));
    fillIn.headline([data.columns, data.rows, data.bounds], () => {
      if (!data.columns.length) return h("p", { className: "hint", textContent: "No figures: see above." });
      const head = data.columns.map((one) => h("th", { scope: "col", className: "right" }, badge(one.letter, one.colour), ` ${one.label}`));
      const rows = data.rows.map((row) =>
        h("tr", { set: { "data-figure": row.name } }, h("th", { scope: "row", textContent: row.label }),
          ...row.cells.map((cell) => h("td", { className: "right", set: { "data-value": cell.value } },
            h("strong", { textContent: cell.text }), cell.ratio ? h("span", { className: "ratio", textContent: ` ${cell.ratio}` }) : null,
            h("span", { className: "between", textContent: cell.interval || "\u00a0" })))));
      const bound = h("tr", { set: { "data-figure": "bound" } }, h("th", { scope: "row", textContent: "bound by" }), ...data.bounds.map((text) => h("td", { className: "right" }, h("strong", { textContent: text }))));
      const caption = h("caption", { textContent: "Expected, and the 90 % interval" });
      return h("div", { className: "scroll", tabIndex: 0, set: { role: "region", "aria-label": "Figures" } }, h("table", { className: data.columns.length > 2 ? "headline many" : "headline" }, caption, h("thead", {}, h("tr", {}, h("td", {}), ...head)), h("tbody", {}, bound, ...rows)));
    });
    fillIn.remarks(data.remarks, () => data.remarks.map((one) =>
      one.problem
        ? h("div", { className: "problem" }, badge(one.letter, one.colour), h("p", { textContent: one.problem }))
        : h("details", {}, h("summary", {}, badge(one.letter, one.colour), ` ${one.title}`), ...one.notes.map((text) => h("p", { textContent: text })))));
  }

  function tables(data) {
    fillIn.difference(data.differences, () => (data.differences ? table(data.differences) : []));
    differing.hidden = !data.differences;
    fillIn.placements(data.placements, () => data.placements.flatMap((one) =>
      one.rows.length > 8 ? [h("details", {}, h("summary", { textContent: one.title }), ...table(one))] : table(one)));
    placed.hidden = !data.placements.length;
    fillIn.operators(data.operators, () => data.operators.flatMap(table));
  }

  function form(data) {
    axes(data.axes, () => data.axes.map((value) => h("option", { value, textContent: value })));
    results(data.results, () => data.results.map(([value, textContent]) => h("option", { value, textContent })));
    axis.value = data.axis;
    result.value = data.result;
    alert.textContent = data.problem;
  }

  function take(data) {
    copies(data.texts, () => data.texts.map(([name, text]) => {
      const button = h("button", { type: "button", textContent: `Copy as ${name}`, on: { click: () => copy(text, button) } });
      return h("div", { className: "text" }, h("div", { className: "buttons" }, button), h("pre", { tabIndex: 0, textContent: text, set: { role: "region", "aria-label": `As ${name}`, "data-text": name } }));
    }));
    downloads(data.files, () => data.files.map((name) => h("button", { type: "button", textContent: name, set: { "aria-label": `Download ${name}` }, on: { click: () => send({ do: "fetch", file: name }) } })));
  }

  function work(data) {
    go.disabled = data.running;
    stop.hidden = bar.hidden = !data.running;
    bar.value = data.share;
    said.textContent = data.said;
    lineSaid.textContent = data.line;
    status.textContent = data.busy ? "Working out intervals, line and sensitivities …" : "";
  }

  return { element, strip, figures, tables, form, take, work, say: (text) => (alert.textContent = text) };
}
