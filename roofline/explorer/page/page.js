// The page: both sides, light and dark, and what goes to and comes from the server.

export function render({ model, el }) {
  // One message on its way at a time: a slider sends where it is, not where it was.
  let waiting = null, sent = null;
  const later = [];
  const next = () => {
    waiting = later.shift() || null;
    if (waiting) model.send_msg(waiting);
  };
  const send = (message) => {
    const dragged = (one) => one.do === "knob" && message.do === "knob" && one.path === message.path;
    const old = later.findIndex(dragged);
    if (old >= 0) later[old] = message;
    else later.push(message);
    if (!waiting) next();
  };

  const asked = question(send);
  const answered = answer(send, (name) => model.get_child(name));

  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  let dark = scheme.matches;
  const theme = h("button", { type: "button", className: "theme" });
  const link = h("button", { type: "button", textContent: "Copy the link", on: { click: () => copy(address(), link) } });
  const address = () => `${location.origin}${location.pathname}?${model.query}`;
  const shell = h(
    "div", { className: "app" },
    h("header", {}, h("h1", { textContent: "roofline" }), h("p", { className: "hint", textContent: "How fast inference runs on a chip, why, and how sure that is." }), h("div", { className: "buttons" }, link, theme)),
    h("div", { className: "sides" }, asked.element, h(model.standalone ? "main" : "div", { className: "right-side" }, answered.element)),
    answered.strip,
  );
  const dress = () => {
    shell.dataset.theme = dark ? "dark" : "light";
    theme.textContent = dark ? "Light" : "Dark";
    theme.setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
    if (model.standalone) document.documentElement.style.background = dark ? "#0d1117" : "#f6f8fa";
    send({ do: "theme", dark });
  };
  theme.addEventListener("click", () => ((dark = !dark), dress()));
  scheme.addEventListener("change", (event) => ((dark = event.matches), dress()));

  const form = () => (asked.update(model.form), answered.form(model.form));
  const parts = {
    form,
    knobs: () => asked.knobs(model.knobs),
    headline: () => answered.figures(model.headline),
    tables: () => answered.tables(model.tables),
    take: () => answered.take(model.take),
    work: () => answered.work(model.work),
    problem: () => answered.say(model.problem || model.form.problem),
    query: () => model.standalone && history.replaceState(null, "", `?${model.query}`),
    tick: next,
  };
  for (const [name, update] of Object.entries(parts)) {
    model.on(name, update);
    if (name !== "tick" && name !== "query") update();
  }
  model.on("msg:custom", (event) => {
    const file = (event.data || event).file;
    if (file) save(file.name, file.mime, file.data);
  });
  // For whoever waits for the page to come to rest: nothing on its way, nothing being worked out.
  if (model.standalone) {
    const answeredAll = () => !waiting && !later.length;
    window.__rl = { answered: answeredAll, idle: () => answeredAll() && !model.work.busy && !model.work.running };
  }
  dress();
  return shell;
}
