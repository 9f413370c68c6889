// Agreement with the gold standard against the amount of further training.

if (data.curves) addView("curves", "Curves", (root) => {
  const curves = data.curves, measured = {};
  for (const name of ["cosine", "pearson", "spearman"]) measured[name] = {mean: decoded(curves[`${name}_mean`]), sem: decoded(curves[`${name}_sem`])};
  const counts = decoded(curves.n_test), ceiling = decoded(curves.ceiling), epochs = curves.epochs;
  const names = {cosine: "cosine", pearson: "Pearson", spearman: "Spearman"};
  const canLog = epochs[0] > 0;
  if (state.logarithmic === null) state.logarithmic = canLog && 20 * epochs[0] <= epochs.at(-1);
  const place = () => curves.adjustments.indexOf(state.adjustment);
  const row = (array, method) => part(array, method, place());
  const drawn = methodPlaces.filter((method) => row(measured.cosine.mean, method).some(Number.isFinite));
  const chart = new Chart("Agreement with the gold standard", {tip, pick, className: "tall"});
  const controls = el("div", {class: "controls"}), legend = el("div"), heading = el("p", {class: "axis-title"}), note = el("p", {class: "muted small"}), table = el("div");
  root.append(controls, legend, heading, chart.frame, note, table);

  function ceilingRow() {
    if (!ceiling || state.measure === "spearman") return null;
    const values = part(ceiling, state.measure === "pearson" ? curves.adjustments.indexOf("centred") : place());
    return values.some(Number.isFinite) ? values : null;
  }

  function tip(point) {
    const method = point.data.meta.method, index = point.pointNumber;
    if (method === undefined) return el("div", {}, el("strong", {}, "reliability ceiling"), el("p", {}, `${fixed(point.y)} after ${epochsText(epochs[index])}`));
    const of = measured[state.measure];
    return el("div", {}, el("strong", {}, swatch(method), nameTag(nameOf(method))),
      el("p", {}, `${names[state.measure]} ${withError(row(of.mean, method)[index], row(of.sem, method)[index])}`),
      el("p", {class: "muted small"}, `after ${epochsText(epochs[index])} (step ${curves.steps[index].toLocaleString("en")}), n = ${plural(row(counts, method)[index], "test example")}, ${plural(curves.seeds, "seed")}`));
  }

  function pick(point) {
    const method = point.data.meta.method;
    if (method === undefined || !effects?.scores[method]) return;
    const wanted = epochs[point.pointNumber], gaps = effects.epochs.map((epoch) => Math.abs(Math.log((epoch + 1e-9) / (wanted + 1e-9))));
    openView("scatter", {method, step: gaps.indexOf(Math.min(...gaps))});
  }

  function traces() {
    const all = [], of = measured[state.measure];
    const dashes = new Map(), style = (method) => {
      const count = dashes.get(data.methods[method].colour) || 0;
      dashes.set(data.methods[method].colour, count + 1);
      return ["solid", "dash", "dot", "dashdot"][count % 4];
    };
    const lines = drawn.map((method) => [method, style(method)]).filter(([method]) => state.visible.has(method));
    for (const [method] of lines) {
      const [y, error, colour] = [row(of.mean, method), row(of.sem, method), colourOf(method)];
      const kept = epochs.map((_, index) => index).filter((index) => Number.isFinite(y[index]) && Number.isFinite(error[index]));
      const band = [...kept.map((i) => [epochs[i], y[i] + error[i]]), ...kept.reverse().map((i) => [epochs[i], y[i] - error[i]])];
      all.push({x: band.map(([x]) => x), y: band.map(([, value]) => value), fill: "toself", fillcolor: faint(colour, 0.14), line: {width: 0}, mode: "lines", hoverinfo: "skip", meta: {}});
    }
    lines.forEach(([method, dash], index) => {
      const colour = colourOf(method);
      all.push({x: epochs, y: Array.from(row(of.mean, method)), mode: "lines+markers", line: {color: colour, width: 2, dash}, marker: {symbol: data.methods[method].symbol, size: markerSizes(index / lines.length), color: colour, opacity: 1, line: {width: 0}}, hoverinfo: "none", cliponaxis: false, meta: {method, walk: true}});
    });
    const top = ceilingRow();
    if (top) all.push({x: epochs, y: Array.from(top), mode: "lines", line: {color: cssColour("muted"), width: 1.5, dash: "6px,4px"}, hoverinfo: "none", meta: {walk: true}});
    return all;
  }

  // Where there are many points, a marker here and there as in the figures, elsewhere on each line: some lines coincide.
  function markerSizes(offset) {
    if (epochs.length <= 15) return 7;
    const scale = state.logarithmic ? Math.log : Number, [low, high] = [scale(epochs[0]), scale(epochs.at(-1))], sizes = epochs.map(() => 0);
    for (let at = 0.02 + 0.15 * offset; at <= 1; at += 0.15) {
      const gaps = epochs.map((epoch) => Math.abs(scale(epoch) - low - at * (high - low)));
      sizes[gaps.indexOf(Math.min(...gaps))] = 8;
    }
    return sizes;
  }

  function logRange() {
    const [low, high] = [Math.log10(epochs[0]), Math.log10(epochs.at(-1))], room = 0.02 * (high - low || 1);
    return [low - room, high + room];
  }

  function lowest(all) { return Math.min(0, ...all.flatMap((trace) => trace.meta.walk ? trace.y.filter(Number.isFinite) : [])); }

  function drawTable() {
    const of = measured[state.measure], moments = ["first", "best", "last"];
    const line = (method) => {
      const y = Array.from(row(of.mean, method)), error = row(of.sem, method);
      const best = y.reduce((top, value, index) => (value > (y[top] ?? -Infinity) || !Number.isFinite(y[top]) ? index : top), 0);
      return el("tr", {}, el("th", {scope: "row"}, swatch(method), nameTag(nameOf(method))), [0, best, y.length - 1].map((index, column) =>
        el("td", {class: "num", "data-label": moments[column]}, withError(y[index], error[index]), el("span", {class: "muted at"}, ` at ${amountText(epochs[index])}`))));
    };
    const head = el("tr", {}, el("th", {scope: "col"}, "method"), moments.map((moment) => el("th", {scope: "col", class: "num"}, moment)));
    table.replaceChildren(el("table", {class: "values"}, el("caption", {}, `${names[state.measure]} at the first, the best and the last amount, mean ± standard error over test examples`),
      el("thead", {}, head), el("tbody", {}, drawn.filter((method) => state.visible.has(method)).map(line))));
  }

  function drawControls() {
    controls.replaceChildren(
      segmented("agreement", names, state.measure, (measure) => choose({measure})),
      segmented("adjustment", ADJUSTMENTS, state.adjustment, (adjustment) => choose({adjustment})),
      canLog ? segmented("amount", {linear: "linear", log: "logarithmic"}, state.logarithmic ? "log" : "linear", (scale) => choose({logarithmic: scale === "log"})) : "");
    legend.replaceChildren(chips("methods", drawn, state.visible, (visible) => choose({visible})));
  }

  return (keepControls) => {
    if (!keepControls) drawControls();
    const all = traces(), width = chart.frame.clientWidth || 700;
    const x = axis(data.amount, state.logarithmic ? {type: "log", range: logRange(), ...logTicks(epochs[0], epochs.at(-1), width)} : {range: [0, 1.02 * epochs.at(-1)]});
    const low = lowest(all);
    heading.textContent = `${names[state.measure]} with the gold standard${state.measure === "cosine" ? `, ${ADJUSTMENTS[state.adjustment]}` : ""}${data.watched ? `, effects on the ${isolated(data.watched)}` : ""}`;
    note.textContent = [`Band: one standard error over test examples.`, ceilingRow() ? "Dashed: what a perfect score could reach with so few seeds." : "",
      state.measure === "pearson" ? "Pearson's correlation centres by itself." : state.measure === "spearman" ? "Ranks know no ceiling of this kind." : "",
      effects ? "A click on a point shows the test examples behind it." : ""].filter(Boolean).join(" ");
    drawTable();
    return chart.draw(all, layoutOf(x, axis("", {range: [low < 0 ? low - 0.05 : 0, 1.02]})));
  };
});
