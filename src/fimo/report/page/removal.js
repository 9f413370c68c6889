// Predicted against measured, where the most helpful rows of each method are taken out together.

if (data.removal) addView("removal", "Removal", (root) => {
  const removal = data.removal, methods = [...new Set(removal.method)], shares = [...new Set(removal.share)].sort((a, b) => a - b);
  if (state.share === null) state.share = shares.at(-1);
  const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
  const rows = removal.method.map((method, place) => ({method, test: removal.test[place], share: removal.share[place], count: removal.rows[place],
    predicted: removal.predicted[place], measured: removal.measured_mean[place], sem: removal.measured_sem[place]}));
  const controls = el("div", {class: "controls"}), legend = el("div"), verdicts = el("div", {class: "verdicts"}), sentences = el("div");
  const scatter = new Chart("Measured against predicted", {tip}), means = new Chart("Measured against the share taken out", {tip: meanTip});
  const titles = [0, 1].map(() => el("p", {class: "axis-title"})), table = el("div"), note = el("p", {class: "muted small"});
  root.append(verdicts, controls, legend, el("div", {class: "two"}, el("div", {}, titles[0], scatter.frame), el("div", {}, titles[1], means.frame)), note, table, sentences);
  const what = data.watched || "test loss";

  // A test example where it takes little room: a picture or a sentence; of a table's row the label says enough.
  function small(test) {
    const example = data.test[test];
    return example.picture !== undefined || example.texts ? content(example, {size: 64}) : null;
  }

  function tip(point) {
    const row = point.customdata;
    return row && el("div", {}, el("strong", {}, swatch(row.method), nameTag(nameOf(row.method))), el("p", {}, "test example ", nameTag(data.test[row.test].label)), small(row.test),
      el("p", {}, `predicted ${signed(row.predicted)}, measured ${measuredText(row.measured, row.sem)}`), el("p", {class: "muted small"}, `${percent(row.share)}, ${plural(row.count, "row")} taken out`));
  }

  function meanTip(point) {
    const row = point.customdata;
    return row && el("div", {}, el("strong", {}, swatch(row.method), nameTag(nameOf(row.method))), el("p", {}, measuredText(row.mean, row.sem)),
      el("p", {class: "muted small"}, `${percent(row.share)} taken out, n = ${plural(row.n, "test example")}`));
  }

  // Mean over test examples with its standard error; with one test example that of its seeds.
  function summarised(method, share) {
    const of = rows.filter((row) => row.method === method && row.share === share && Number.isFinite(row.measured)), values = of.map(({measured}) => measured), n = values.length;
    const centre = mean(values), spread = Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (n - 1) / n);
    const overGroups = mean(of.map(({sem}) => sem ?? NaN));  // all test examples have the same random rows
    return {method, share, n, mean: centre, sem: data.methods[method].label === "random rows" ? overGroups : n > 1 ? spread : of[0]?.sem};
  }

  function marker(method) { return {symbol: data.methods[method].symbol, color: colourOf(method), size: 8}; }

  // Some methods' scores have a unit of their own: what lies far beyond everything measured doesn't set the axis.
  const FAR = 3;
  function beyond(of) {
    const most = FAR * Math.max(...of.map(({measured}) => Math.abs(measured)));
    const far = [...new Set(of.filter(({predicted}) => Math.abs(predicted) > most).map(({method}) => method))];
    return far.length < new Set(of.map(({method}) => method)).size ? far : [];
  }

  function ranged(values) {
    const low = Math.min(0, ...values), high = Math.max(0, ...values), room = 0.08 * (high - low || 1);
    return [low - room, high + room];
  }

  function predictedRange(of) {
    const far = beyond(of);
    return ranged(of.filter(({method}) => !far.includes(method)).map(({predicted}) => predicted));
  }

  function measuredRange(of) { return ranged(of.flatMap(({measured, sem}) => [measured - (sem ?? 0), measured + (sem ?? 0)])); }

  function pointsOf(visible) {
    return rows.filter((row) => row.share === state.share && visible.includes(row.method) && row.predicted !== null && row.measured !== null);
  }

  function pointTraces(visible) {
    const of = pointsOf(visible);
    const line = predictedRange(of);
    const diagonal = {x: line, y: line, mode: "lines", line: {color: cssColour("muted"), width: 1, dash: "dot"}, hoverinfo: "skip", meta: {}};
    return [diagonal, ...visible.map((method) => {
      const points = of.filter((row) => row.method === method);
      return {x: points.map((row) => row.predicted), y: points.map((row) => row.measured), customdata: points, mode: "markers", marker: marker(method), hoverinfo: "none",
        error_y: {type: "data", array: points.map((row) => row.sem ?? 0), color: faint(colourOf(method), 0.5), thickness: 1, width: 3}, meta: {walk: true}};
    })];
  }

  function meanTraces(visible) {
    return visible.map((method) => {
      const points = shares.map((share) => summarised(method, share)).filter(({n}) => n);
      return {x: points.map(({share}) => 100 * share), y: points.map((row) => row.mean), customdata: points, mode: "lines+markers", line: {color: colourOf(method), width: 2, dash: data.methods[method].dash}, marker: marker(method), hoverinfo: "none",
        error_y: {type: "data", array: points.map((row) => row.sem ?? 0), color: faint(colourOf(method), 0.6), thickness: 1, width: 3}, meta: {walk: true}};
    });
  }

  function drawTable(visible) {
    const agreement = Object.keys(removal.agreement).length > 0, titles = agreement ? ["right sign", "rank correlation"] : [];
    const agreed = (method) => {
      const of = removal.agreement[data.methods[method].label];
      return [of && Number.isFinite(of.right_sign) ? `${Math.round(100 * of.right_sign)} %` : "–", of ? withError(of.correlation_mean, of.correlation_sem) : "–"];
    };
    const head = el("tr", {}, el("th", {scope: "col"}, "method"), titles.map((title) => el("th", {scope: "col", class: "num"}, title)), shares.map((share) => el("th", {scope: "col", class: "num"}, percent(share))));
    table.replaceChildren(el("table", {class: "values"}, el("caption", {}, `rise of the ${what}, mean ± standard error over test examples, by the share of training rows taken out${agreement ? "; right sign: of the groups that the method named; rank correlation: predicted with measured, over all groups" : ""}`), el("thead", {}, head),
      el("tbody", {}, visible.map((method) => el("tr", {}, el("th", {scope: "row"}, swatch(method), nameTag(nameOf(method))), titles.map((title, place) => el("td", {class: "num", "data-label": title}, agreed(method)[place])), shares.map((share) => {
        const row = summarised(method, share);
        return el("td", {class: "num", "data-label": percent(share)}, row.n ? measuredText(row.mean, row.sem) : "–");
      }))))));
  }

  return (keepControls) => {
    if (!keepControls) {
      controls.replaceChildren(segmented("taken out", Object.fromEntries(shares.map((share) => [share, percent(share)])), String(state.share), (share) => choose({share: Number(share)})));
      legend.replaceChildren(chips("methods", methods, state.visible, (visible) => choose({visible})));
    }
    const visible = methods.filter((method) => state.visible.has(method));
    verdicts.replaceChildren(claimsTable() || "");
    if (removal.verdicts.length) sentences.replaceChildren(el("h2", {}, "Test example by test example"), el("ul", {class: "sentences"}, removal.verdicts.map(([test, text]) => el("li", {}, small(test), el("p", {}, clippedText(text))))));
    titles[0].textContent = `rise of the ${what} without ${percent(state.share)} of the rows`;
    const of = pointsOf(visible), far = beyond(of).map((method) => data.methods[method].label);
    const apart = far.length ? ` Beyond the axis, in units of their own: ${far.join(", ")}.` : "";
    note.textContent = `A point is a test example, its bar one standard error over seeds; dotted: measured as predicted.${apart} The other chart has means over test examples with one standard error.`;
    titles[1].textContent = `mean rise of the ${what}`;
    drawTable(visible);
    return Promise.all([scatter.draw(pointTraces(visible), layoutOf(axis("predicted", {nticks: 6, zeroline: true, range: predictedRange(of)}), axis("", {nticks: 7, zeroline: true, range: measuredRange(of)}))),
      means.draw(meanTraces(visible), layoutOf(axis("share of the training rows taken out (%)", {rangemode: "tozero"}), axis("", {nticks: 7, zeroline: true})))]);
  };
});
