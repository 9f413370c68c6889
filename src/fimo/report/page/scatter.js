// Score against measured effect: a point is a training row (or a group), for one method, amount and test example.

function testStepper() {
  const options = tests.map((example, place) => [place, isolated(`${data.test[example].label}: ${summary(data.test[example])}`)]);
  return stepper("test example", options, state.test, (test) => choose({test}));
}

function amountSlider() {
  const texts = effects.epochs.map((epoch) => epochsText(epoch));
  return texts.length > 1 ? slider("amount", texts, state.step, (step, dragged) => choose({step}, dragged)) : "";
}

// Only those adjustments that single effects have; all views share the choice.
function adjustmentOfEffects() {
  return segmented("gold standard", {full: ADJUSTMENTS.full, centred: ADJUSTMENTS.centred}, state.adjustment === "centred" ? "centred" : "full", (adjustment) => choose({adjustment}));
}

if (effects && scored.length) addView("scatter", "Scatter", (root) => {
  const controls = el("div", {class: "controls"}), heading = el("p", {class: "axis-title"}), numbers = el("p", {class: "numbers"}), side = el("aside", {class: "side", "aria-live": "polite"});
  const chart = new Chart("Score against measured effect", {tip, pick: (point) => { choose({row: point.customdata}); openRow(effects.trains[point.customdata]); }, className: "tall"});
  root.append(controls, el("div", {class: "beside"}, el("div", {}, heading, chart.frame, numbers), side));

  function tip(point) {
    const place = point.customdata;
    if (place === undefined) return null;
    if (state.row !== place) { state.row = place; drawSide(); }
    const example = data.train[effects.trains[place]];
    return el("div", {class: "row-tip"}, el("strong", {}, nameTag(example.label)), content(example, {reference: reference(), size: 56}),
      el("p", {class: "small"}, `score ${signed(point.x)}, measured ${signed(point.y)}`));
  }

  const reference = () => data.test[tests[state.test]];

  function drawSide() {
    const pointed = state.row === null ? null : data.train[effects.trains[state.row]];
    side.replaceChildren(el("h3", {}, "test example ", clippedText(reference().label, 120)), content(reference()), el("p", {class: "muted small"}, lossNote(state.test)),
      el("h3", {class: pointed ? null : "screen"}, pointed ? [`${UNIT} `, clippedText(pointed.label, 120)] : UNIT),
      pointed ? [content(pointed, {reference: reference()}), el("button", {type: "button", class: "action", onclick: () => openRow(effects.trains[state.row])}, "which test examples it helps and harms")]
        : el("p", {class: "muted screen"}, "Point at a point, or go there by the arrow keys."));
  }

  function drawControls() {
    controls.replaceChildren(
      select("method", scored.map((method) => [method, isolated(nameOf(method))]), state.method, (method) => choose({method})),
      testStepper(), amountSlider(), adjustmentOfEffects());
  }

  function traces(x, y) {
    const colour = colourOf(state.method), kept = [...x.keys()].filter((place) => Number.isFinite(x[place]) && Number.isFinite(y[place]));
    const shape = (place) => place === state.row ? 13 : 8;
    const points = {x: kept.map((place) => x[place]), y: kept.map((place) => y[place]), customdata: kept, mode: "markers", hoverinfo: "none",
      marker: {symbol: data.methods[state.method].symbol, color: faint(colour, isDark() ? 0.92 : 0.75), size: kept.map(shape), line: {width: 1, color: cssColour("ground")}}};
    points.meta = {walk: true, order: [...kept.keys()].sort((a, b) => points.x[a] - points.x[b])};
    const slope = kept.reduce((sum, place) => sum + x[place] * y[place], 0) / kept.reduce((sum, place) => sum + x[place] ** 2, 0);
    const ends = [Math.min(0, ...points.x), Math.max(0, ...points.x)];
    const line = {x: ends, y: ends.map((end) => slope * end), mode: "lines", line: {color: cssColour("muted"), width: 1, dash: "dot"}, hoverinfo: "skip", meta: {}};
    return Number.isFinite(slope) ? [line, points] : [points];
  }

  return (keepControls) => {
    if (!keepControls) drawControls();
    const x = scoresOf(state.method, state.step, state.test), y = goldOf(state.step, state.test), agree = agreement(x, y);
    heading.replaceChildren("measured effect of leaving each out ", el("span", {class: "muted"}, `(positive: it helped${state.adjustment === "centred" ? " more than the mean" : ""})`));
    numbers.replaceChildren(el("span", {}, "cosine ", el("b", {}, fixed(agree.cosine))), el("span", {}, "Pearson ", el("b", {}, fixed(agree.pearson))), el("span", {}, "Spearman ", el("b", {}, fixed(agree.spearman))),
      el("span", {class: "muted"}, `over ${agree.n} ${data.several}; dotted: the best multiple of the score`));
    drawSide();
    return chart.draw(traces(x, y), layoutOf(axis(`score by ${plotlyText(nameOf(state.method))}`, {zeroline: true, nticks: 7}), axis("", {zeroline: true, nticks: 8})));
  };
});

// Plotly reads tags in titles: a label keeps its signs.
function plotlyText(text) { return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"); }
