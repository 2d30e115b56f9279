// The list of classes, and how they are drawn. The server's view is the truth: what it sends is shown, by all pages.
// Only what was just changed here is not changed back by a state of before.
const LONG_LIST = 14; // beyond, the list is searched and ordered by score
const ORDER_MS = 2000;
const HOLD_MS = 700; // in which the server's answer comes
const byId = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(value * 100)} %`;

export class Controls {
  constructor(send) {
    this.send = send;
    this.rows = [];
    this.state = this.view = null;
    this.held = {}; // what was just changed, until when it is shown whatever the server says
    this.orderedMs = 0;
    for (const name of ["opacity", "threshold", "top"]) {
      const input = byId(name);
      input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    }
    for (const input of document.querySelectorAll("#mode input")) {
      input.addEventListener("change", () => this.choose(input.value === "choose"));
    }
    byId("all-on").addEventListener("click", () => this.allOn());
    byId("all-off").addEventListener("click", () => this.change({ hidden: this.rows.map((row) => row.label) }));
    byId("filter").addEventListener("input", (event) => {
      const sought = event.target.value.trim().toLowerCase();
      for (const row of this.rows) row.item.hidden = !row.label.toLowerCase().includes(sought);
    });
  }

  // Builds the list; called again when the server came back with another model.
  build(classes, styles) {
    this.rows = classes.map(({ label, color }) => this.row(label, color));
    byId("classes").replaceChildren(...this.rows.map((row) => row.item));
    byId("filter").hidden = this.rows.length <= LONG_LIST;
    byId("top").max = Math.min(10, this.rows.length);
    const legend = byId("styles").querySelector("legend");
    byId("styles").replaceChildren(legend, ...styles.map((style) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: style });
      input.addEventListener("change", () => this.change({ style }));
      label.append(input, Object.assign(document.createElement("span"), { textContent: style }));
      return label;
    }));
    this.styles = styles;
  }

  row(label, color) {
    const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
    const item = document.createElement("li");
    const line = make("label", "");
    const swatch = make("span", "swatch");
    swatch.style.backgroundColor = color;
    const name = make("span", "name", label);
    name.title = label;
    const score = make("span", "score");
    const input = Object.assign(document.createElement("input"), { type: "checkbox" });
    input.setAttribute("role", "switch");
    input.setAttribute("aria-label", label);
    input.addEventListener("change", () => this.switch(label, input.checked));
    const bar = make("span", "bar");
    const fill = document.createElement("i");
    fill.style.backgroundColor = color;
    bar.append(fill);
    line.append(swatch, name, score, input, bar);
    item.append(line);
    return { label, item, line, score, input, fill, text: "" };
  }

  change(fields) {
    const untilMs = performance.now() + HOLD_MS;
    for (const [name, value] of Object.entries(fields)) this.held[name] = { value, untilMs };
    this.send(fields);
    if (this.state !== null) this.show(this.state);
  }

  show(state) {
    const { scores, shown } = state, view = { ...state.view }, nowMs = performance.now();
    for (const [name, { value, untilMs }] of Object.entries(this.held)) if (nowMs < untilMs) view[name] = value;
    this.state = state;
    this.view = view;
    const chosen = view.classes !== null;
    for (const input of document.querySelectorAll("#mode input")) {
      input.checked = (input.value === "choose") === chosen;
      input.disabled = input.value === "follow" && scores === null;
    }
    for (const input of document.querySelectorAll("#styles input")) input.checked = input.value === view.style;
    for (const slider of document.querySelectorAll(".slider.follow")) slider.classList.toggle("idle", chosen);
    this.slide("opacity", view.opacity, percent(view.opacity));
    this.slide("threshold", view.threshold, view.threshold.toFixed(2));
    this.slide("top", view.top, `${view.top} ${view.top === 1 ? "class" : "classes"}`);
    this.list(view, scores, new Set(shown));
  }

  list(view, scores, shown) {
    const hidden = new Set(view.hidden), chosen = view.classes === null ? null : new Set(view.classes);
    this.rows.forEach((row, index) => {
      row.input.checked = !hidden.has(row.label) && (chosen === null || chosen.has(row.label));
      row.line.className = shown.has(row.label) ? "shown" : "";
      row.value = scores === null ? 0 : scores[index];
      const text = scores === null ? "" : row.value.toFixed(2);
      if (text === row.text) return;
      row.text = row.score.textContent = text;
      row.fill.style.transform = `scaleX(${row.value})`;
    });
    if (this.rows.length > LONG_LIST && scores !== null) this.order();
  }

  order() {
    const list = byId("classes");
    if (performance.now() - this.orderedMs < ORDER_MS || list.matches(":hover, :focus-within")) return;
    this.orderedMs = performance.now();
    list.append(...[...this.rows].sort((a, b) => b.value - a.value).map((row) => row.item));
  }

  slide(name, value, text) {
    byId(name).value = value;
    byId(`${name}-out`).textContent = text;
    byId(name).setAttribute("aria-valuetext", text);
  }

  // Moves a slider by so many steps, as the keys do.
  step(name, steps) {
    const input = byId(name);
    const value = Number(input.value) + steps * (name === "top" ? 1 : 0.05);
    this.change({ [name]: Number(Math.min(Number(input.max), Math.max(Number(input.min), value)).toFixed(2)) });
  }

  style(index) {
    if (this.styles?.[index]) this.change({ style: this.styles[index] });
  }

  switch(label, on) {
    const hidden = this.view.hidden.filter((name) => name !== label);
    const fields = { hidden: on ? hidden : [...hidden, label] };
    const classes = this.view.classes;
    if (on && classes !== null && !classes.includes(label)) fields.classes = [...classes, label];
    this.change(fields);
  }

  choose(own) {
    const visible = this.rows.filter((row) => row.line.className === "shown" && row.input.checked);
    const names = (visible.length ? visible : this.rows.slice(0, 1)).map((row) => row.label);
    this.change({ classes: own ? names : null });
  }

  allOn() {
    const classes = this.view.classes === null ? null : this.rows.map((row) => row.label);
    this.change({ hidden: [], classes });
  }
}
