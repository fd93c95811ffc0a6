// The report's page: sorted tables, the frontier over the exponent, single users. No library, no network.
// Whatever comes from runs, such as raw ids and labels, is put into the page as text, never as markup.
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT_OF_TEXT = 14;

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const draw = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const shown = (value) => (value === null ? "–" : value.toFixed(4));
  const listed = (names) =>
    names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

  // -- tables -----------------------------------------------------------------------------------------------------

  const cellOf = (row, column) => row.cells[column];
  const numberOf = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));

  /** Compare two cells: by their numbers, else by their texts; what has no number comes last either way. */
  const compare = (one, other, sign) => {
    const [a, b] = [numberOf(one), numberOf(other)];
    if (a !== null && b !== null) return sign * (a - b);
    if (a !== null || b !== null) return a === null ? 1 : -1;
    return sign * one.textContent.trim().localeCompare(other.textContent.trim(), "en", { numeric: true });
  };

  const sortRows = (table) => {
    const heads = [...table.tHead.rows].at(-1).cells;
    const column = [...heads].findIndex((head) => ["ascending", "descending"].includes(head.getAttribute("aria-sort")));
    const rows = [...table.tBodies[0].rows].sort((a, b) => a.dataset.place - b.dataset.place);
    if (column >= 0) {
      const sign = heads[column].getAttribute("aria-sort") === "ascending" ? 1 : -1;
      rows.sort((a, b) => compare(cellOf(a, column), cellOf(b, column), sign));
    }
    table.tBodies[0].append(...rows);
  };

  /** Columns of numbers begin with the largest, texts with the first; the third press restores the first order. */
  const press = (table, head) => {
    const texts = [...table.tBodies[0].rows].every((row) => numberOf(cellOf(row, head.cellIndex)) === null);
    const order = texts ? ["none", "ascending", "descending"] : ["none", "descending", "ascending"];
    const next = order[(order.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    sortRows(table);
  };

  const makeSortable = (table) => {
    [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
    for (const head of [...table.tHead.rows].at(-1).cells) {
      const button = make("button", { type: "button" }, head.textContent.trim());
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => press(table, head));
    }
  };

  // -- looks of models --------------------------------------------------------------------------------------------

  const polygon = (corners) => `M${corners.map((corner) => corner.join(",")).join("L")}Z`;
  const star = Array.from({ length: 10 }, (_, place) => {
    const [radius, angle] = [place % 2 ? 2.4 : 6.2, (place * Math.PI) / 5 - Math.PI / 2];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
  const plus = [[-1.8, -5.4], [1.8, -5.4], [1.8, -1.8], [5.4, -1.8], [5.4, 1.8], [1.8, 1.8], [1.8, 5.4], [-1.8, 5.4],
    [-1.8, 1.8], [-5.4, 1.8], [-5.4, -1.8], [-1.8, -1.8]];
  const turned = plus.map(([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2]);
  const MARKERS = {
    o: "M-5,0A5,5 0 1 1 5,0A5,5 0 1 1 -5,0Z",
    s: polygon([[-4.6, -4.6], [4.6, -4.6], [4.6, 4.6], [-4.6, 4.6]]),
    "^": polygon([[0, -5.8], [5.4, 4.4], [-5.4, 4.4]]),
    D: polygon([[0, -6.2], [6.2, 0], [0, 6.2], [-6.2, 0]]),
    v: polygon([[0, 5.8], [5.4, -4.4], [-5.4, -4.4]]),
    P: polygon(plus),
    X: polygon(turned),
    "<": polygon([[-5.8, 0], [4.4, -5.4], [4.4, 5.4]]),
    ">": polygon([[5.8, 0], [-4.4, -5.4], [-4.4, 5.4]]),
    "*": polygon(star),
  };
  const colourOf = (model) => `var(--c${model.look.colour})`;
  const swatch = (model) => draw("svg", { class: "swatch", viewBox: "-13 -7 26 14", "aria-hidden": "true" },
    draw("line", { x1: -13, x2: 13, style: `stroke: ${colourOf(model)}`, "stroke-dasharray": model.look.dash }),
    draw("path", { d: MARKERS[model.look.marker], style: `fill: ${colourOf(model)}` }));

  // -- the frontier -----------------------------------------------------------------------------------------------

  /** About n round numbers from low to high. */
  const ticks = (low, high, n) => {
    const rough = (high - low) / n;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const values = Array.from({ length: count }, (_, place) => (first + place) * step);
    return values.map((value) => [value, value.toFixed(digits)]);
  };

  class Frontier {
    constructor(place, data) {
      Object.assign(this, data);
      [this.across, this.up] = ["imbalanced", "balanced"].map((test) =>
        this.keys.findIndex((key) => key.test === test && key.key.includes("/ndcg@")));
      this.section = place.closest("section");
      this.off = new Set();
      this.marks = new Map();
      this.step = this.firstStep();
      this.plot = make("div", { class: "plot" });
      this.tip = make("div", { class: "tip", role: "status" });
      this.tip.hidden = true;
      this.table = this.makeTable();
      const beside = { class: "wide", role: "region", tabindex: 0, "aria-label": "Values at the chosen exponent" };
      place.append(make("div", { class: "split" }, make("div", { class: "moved" }, this.makeControls(), this.plot),
        make("div", beside, this.table)));
      makeSortable(this.table);
      this.redraw();
      this.move();
      new ResizeObserver(() => { if (this.plot.clientWidth !== this.width) this.redraw(); }).observe(this.plot);
      document.addEventListener("keydown", (event) => { if (event.key === "Escape") this.tip.hidden = true; });
    }

    /** The exponent that most models are ranked with, as far as it was tried; the first one otherwise. */
    firstStep() {
      const tried = this.models.map((model) => this.exponents.indexOf(model.own)).filter((place) => place >= 0);
      const count = (place) => tried.filter((other) => other === place).length;
      return tried.length ? tried.reduce((best, place) => (count(place) > count(best) ? place : best)) : 0;
    }

    get on() { return this.models.filter((model) => !this.off.has(model)); }

    fixed(model) { return !model.moved; }

    at(model, rows, step = this.step) { return rows[Math.min(step, rows.length - 1)]; }

    point(row) {
      const [x, y] = [row[this.across], row[this.up]];
      return x === null || y === null ? null : [this.x(x), this.y(y)];
    }

    // What is said of a point.
    name(model, seed, step) {
      const seeds = Object.keys(model.seeds);
      const mean = seeds.length > 1 ? `mean of seeds ${listed(seeds)}` : `seed ${seeds[0]}`;
      const run = seed === null ? mean : `seed ${seed}`;
      const exponent = this.fixed(model) ? "no exponent" : `exponent ${this.exponents[step]}`;
      const row = this.at(model, seed === null ? model.mean : model.seeds[seed], step);
      const values = [this.across, this.up].map((place) =>
        `${this.keys[place].test} ${this.keys[place].metric} ${shown(row[place])}`);
      return `${model.label}, ${run}, ${exponent}: ${values.join(", ")}`;
    }

    makeControls() {
      const last = this.exponents.length - 1;
      this.slider = make("input", { type: "range", min: 0, max: last, step: 1, value: this.step });
      this.output = make("output");
      this.slider.addEventListener("input", () => { this.step = Number(this.slider.value); this.move(); });
      const label = make("label", { class: "slide" }, "Exponent g of score normalisation ", this.slider, this.output);
      const all = (texts, off) => {
        const button = make("button", { type: "button" }, texts);
        button.addEventListener("click", () => {
          this.models.forEach((model) => this.turn(model, off));
          this.switched();
        });
        return button;
      };
      return make("div", { class: "controls" }, label, all("All models on", false), all("All off", true));
    }

    makeTable() {
      const tests = [...new Set(this.keys.map((key) => key.test))];
      const groups = tests.map((test) => make("th", { scope: "colgroup",
        colspan: this.keys.filter((key) => key.test === test).length }, test));
      const names = ["model", ...this.keys.map((key) => key.metric), "seeds"];
      const heads = names.map((text) => make("th", { scope: "col" }, text));
      const body = make("tbody");
      for (const model of this.models) {
        const box = make("input", { type: "checkbox" });
        box.checked = true;
        box.addEventListener("change", () => { this.turn(model, !box.checked); this.switched(); });
        const head = make("th", { scope: "row" }, make("label", {}, box, " ", swatch(model), model.label));
        if (this.fixed(model)) head.append(make("span", { class: "still" }, "no exponent"));
        const seeds = Object.keys(model.seeds).length;
        model.row = make("tr", {}, head, ...this.keys.map(() => make("td")),
          make("td", { "data-value": seeds }, `${seeds}`));
        model.box = box;
        body.append(model.row);
      }
      return make("table", { class: "values" },
        make("caption", { class: "hidden" },
          "Values at the chosen exponent; the boxes switch models on and off in the figure"),
        make("thead", {}, make("tr", {}, make("th", {}), ...groups, make("th", {})), make("tr", {}, ...heads)), body);
    }

    turn(model, off) {
      if (off) this.off.add(model); else this.off.delete(model);
      model.box.checked = !off;
      model.row.classList.toggle("off", off);
    }

    /** Other models are on: draw them, and tell the other views of the data set. */
    switched() {
      this.redraw();
      const off = new Set([...this.off].map((model) => model.label));
      this.section.dispatchEvent(new CustomEvent("switched", { detail: off }));
    }

    /** Draw what does not depend on the exponent: axes and curves, for the models that are on, in the room there is. */
    redraw() {
      const focused = [...this.marks].find(([, mark]) => mark === document.activeElement);
      this.width = this.plot.clientWidth;
      const [width, height] = [Math.max(this.width, 240), Math.min(500, Math.max(320, this.width * 0.8))];
      const room = { left: 58, right: width - 12, top: 10, bottom: height - 46 };
      this.scale(room);
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
        "aria-label": "Frontier: balanced over imbalanced test, a point a model. On a point, the left and right " +
          "arrow keys change the exponent." });
      this.drawAxes(svg, room, height);
      this.marks.clear();
      for (const model of this.on) this.drawCurve(svg, model);
      this.seeds = draw("g", { "aria-hidden": "true" });
      svg.append(this.seeds);
      for (const model of this.on) this.drawMark(svg, model);
      this.tip.hidden = true;
      this.plot.replaceChildren(svg, this.tip);
      this.place();
      if (focused) this.marks.get(focused[0])?.focus();
    }

    scale(room) {
      const models = this.on.length ? this.on : this.models;
      const rows = models.flatMap((model) => [model.mean, ...Object.values(model.seeds)]).flat();
      const range = (place) => {
        const values = rows.map((row) => row[place]).filter((value) => value !== null);
        const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
        const margin = (high - low) * 0.06 || Math.abs(high) * 0.05 || 0.01;
        return [Math.max(0, low - margin), high + margin];
      };
      [this.rangeX, this.rangeY] = [range(this.across), range(this.up)];
      const linear = ([low, high], from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);
      this.x = linear(this.rangeX, room.left, room.right);
      this.y = linear(this.rangeY, room.bottom, room.top);
    }

    drawAxes(svg, room, height) {
      const label = (place) => `${this.keys[place].test} test, ${this.keys[place].metric}`;
      for (const [value, text] of ticks(...this.rangeX, (room.right - room.left) / 90)) {
        svg.append(draw("line", { class: "grid", x1: this.x(value), x2: this.x(value), y1: room.top, y2: room.bottom }),
          draw("text", { x: this.x(value), y: room.bottom + HEIGHT_OF_TEXT + 2, "text-anchor": "middle" }, text));
      }
      for (const [value, text] of ticks(...this.rangeY, 5)) {
        svg.append(draw("line", { class: "grid", x1: room.left, x2: room.right, y1: this.y(value), y2: this.y(value) }),
          draw("text", { x: room.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, text));
      }
      const middle = (room.top + room.bottom) / 2;
      const sides = `M${room.left},${room.top}V${room.bottom}H${room.right}`;
      svg.append(draw("path", { class: "axis", fill: "none", d: sides }),
        draw("text", { x: (room.left + room.right) / 2, y: height - 8, "text-anchor": "middle" }, label(this.across)),
        draw("text", { "text-anchor": "middle", transform: `translate(12,${middle}) rotate(-90)` }, label(this.up)));
    }

    drawCurve(svg, model) {
      const points = model.mean.map((row) => this.point(row));
      const line = points.filter((point) => point).map((point) => point.join(",")).join("L");
      if (!line) return;
      svg.append(draw("path", { class: "curve", d: `M${line}`, style: `stroke: ${colourOf(model)}`,
        "stroke-dasharray": model.look.dash, "aria-hidden": "true" }));
      points.forEach((point, step) => {
        if (!point) return;
        const own = this.exponents[step] === model.own;
        const dot = draw("circle", { class: own ? "own" : "dot", cx: point[0], cy: point[1], r: own ? 4 : 3,
          style: `color: ${colourOf(model)}`, "aria-hidden": "true" });
        this.tell(dot, () => this.name(model, null, step), () => point);
        svg.append(dot);
      });
    }

    drawMark(svg, model) {
      const mark = draw("g", { class: "mean", tabindex: 0, role: "img" },
        draw("circle", { class: "ring", r: 11 }),
        draw("path", { class: "marker", d: MARKERS[model.look.marker], transform: "scale(1.25)",
          style: `fill: ${colourOf(model)}` }));
      this.tell(mark, () => this.name(model, null, this.step), () => this.point(this.at(model, model.mean)));
      mark.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by) return;
        event.preventDefault();
        this.step = Math.min(this.exponents.length - 1, Math.max(0, this.step + by));
        this.slider.value = this.step;
        this.move();
        mark.dispatchEvent(new Event("focus"));
      });
      this.marks.set(model, mark);
      svg.append(mark);
    }

    /** Show a text beside a point while the pointer or the focus is on it. */
    tell(element, text, where) {
      const show = () => {
        const point = where();
        if (!point) return;
        this.tip.textContent = text();
        this.tip.hidden = false;
        const scale = this.plot.clientWidth / Math.max(this.width, 240);
        const left = Math.min(point[0] * scale + 12, this.plot.clientWidth - this.tip.offsetWidth);
        this.tip.style.left = `${Math.max(0, left)}px`;
        this.tip.style.top = `${Math.max(0, point[1] * scale - this.tip.offsetHeight - 12)}px`;
      };
      const hide = () => { this.tip.hidden = true; };
      for (const [event, action] of [["pointerenter", show], ["focus", show], ["pointerleave", hide], ["blur", hide]]) {
        element.addEventListener(event, action);
      }
    }

    /** Put points where the exponent has them. */
    place() {
      for (const [model, mark] of this.marks) {
        const point = this.point(this.at(model, model.mean));
        mark.style.display = point ? "" : "none";
        if (!point) continue;
        mark.setAttribute("transform", `translate(${point.join(",")})`);
        mark.setAttribute("aria-label", this.name(model, null, this.step));
      }
      this.seeds.replaceChildren(...this.on.flatMap((model) => {
        const seeds = Object.entries(model.seeds);
        return seeds.length < 2 ? [] : seeds.flatMap(([seed, rows]) => {
          const point = this.point(this.at(model, rows));
          if (!point) return [];
          const dot = draw("circle", { class: "seed", cx: point[0], cy: point[1], r: 3.5,
            style: `fill: ${colourOf(model)}; stroke: ${colourOf(model)}` });
          const step = this.step;
          this.tell(dot, () => this.name(model, seed, step), () => point);
          return [dot];
        });
      }));
    }

    /** The exponent has changed: move the points, and the table with them. */
    move() {
      this.output.textContent = this.exponents[this.step];
      this.slider.setAttribute("aria-valuetext", `exponent ${this.exponents[this.step]}`);
      for (const model of this.models) {
        const row = this.at(model, model.mean);
        row.forEach((value, place) => {
          const cell = model.row.cells[place + 1];
          cell.textContent = shown(value);
          if (value === null) delete cell.dataset.value; else cell.dataset.value = value;
        });
      }
      sortRows(this.table);
      this.place();
    }
  }

  // -- single users -----------------------------------------------------------------------------------------------

  class Users {
    constructor(place, data) {
      Object.assign(this, data);
      this.off = new Set();
      place.closest("section").addEventListener("switched", (event) => { this.off = event.detail; this.show(); });
      this.most = Math.max(1, ...this.items.map(([, popularity]) => popularity));
      const entries = this.users.flatMap((user) => user.lists.flatMap((list) => list ?? []));
      this.tests = [...new Set(entries.flatMap(([, tests]) => tests.split(" ")))].filter((name) => name).sort();
      this.select = make("select", {}, ...this.users.map((user, number) =>
        make("option", { value: number }, `${user.id} (${user.total} items)`)));
      this.select.addEventListener("change", () => this.show());
      const step = (text, by) => {
        const button = make("button", { type: "button" }, text);
        button.addEventListener("click", () => {
          const number = Number(this.select.value) + by + this.users.length;
          this.select.value = number % this.users.length;
          this.show();
        });
        return button;
      };
      this.said = make("p", { class: "note", role: "status" });
      this.lists = make("div", { class: "lists", role: "region", tabindex: 0,
        "aria-label": "History and lists of the chosen user" });
      place.append(make("div", { class: "controls" }, make("label", {}, "User ", this.select),
        step("Previous", -1), step("Next", 1)), this.said, this.lists);
      this.show();
    }

    entry([item, tests], place) {
      const [id, popularity, title] = this.items[item];
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${(100 * Math.log1p(popularity)) / Math.log1p(this.most)}%`;
      const entry = make("li", {}, bar, make("span", { class: "place" }, `${place + 1}`),
        make("span", { class: "item", title: title ? `${title}, item ${id}` : id }, title || id));
      if (tests) {
        entry.classList.add("hit");
        const sets = tests.split(" ");
        const said = `in the user's ${listed(sets)} test`;
        entry.append(make("span", { class: "tests", title: said }, sets.map((set) => set[0]).join(""),
          make("span", { class: "hidden" }, ` ${said}`)));
      }
      entry.append(make("span", { class: "popularity" }, `${popularity}`));
      return entry;
    }

    column(title, entries, note, name) {
      const mean = entries.reduce((sum, [item]) => sum + this.items[item][1], 0) / Math.max(1, entries.length);
      return make("div", { class: `list ${name}` }, make("h4", { class: "title" }, ...title),
        make("p", {}, `${note}mean popularity ${mean.toFixed(1)}`),
        make("ol", { "aria-label": `${name}, item and its popularity` },
          ...entries.map((entry, place) => this.entry(entry, place))));
    }

    show() {
      const user = this.users[Number(this.select.value)];
      const history = user.history.map((item) => [item, ""]);
      const of = history.length < user.total ? `${history.length} of ` : "";
      const lists = this.models.flatMap((model, place) => {
        const entries = user.lists[place];
        if (!entries || this.off.has(model.label)) return [];
        const hits = entries.filter(([, tests]) => tests).length;
        return [this.column([swatch(model), model.label], entries, `${hits} found, `, "recommended")];
      });
      const key = this.tests.map((name) => `${name[0]} ${name}`).join(", ");
      this.said.textContent = `User ${user.id}: ${user.total} items of training, ${lists.length} lists. ` +
        (key && `Marked items are in a test of the user: ${key}.`);
      this.lists.replaceChildren(this.column(["History"], history, `${of}${user.total} items, `, "history"), ...lists);
    }
  }

  // ---------------------------------------------------------------------------------------------------------------

  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
  const VIEWS = { frontier: Frontier, users: Users };
  for (const place of document.querySelectorAll("[data-view]")) {
    new VIEWS[place.dataset.view](place, JSON.parse(place.nextElementSibling.textContent));
  }
})();
