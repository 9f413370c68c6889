// Labels that were made wrong: how well each order of the training rows finds them, and the rows that stand first in it.

if (data.wrongLabels) addView("wrong-labels", "Wrong labels", (root) => {
  const {wrong, count, looked, detectors} = data.wrongLabels, places = [...detectors.keys()];
  const OWN = ["loss", "margin"], RANDOM = "random order", SIGNALS = ["self-influence", "mean harm"];
  const FEW = 12;
  const BASELINES = {loss: {colour: "#5b6570", dash: "solid"}, margin: {colour: "#a05a00", dash: "6px,4px"}};
  const harm = data.watched ? `how much the row lowers the ${data.watched} at the test examples, in the mean` : "how much the row raises the loss at the test examples, in the mean";
  const MEANING = {"self-influence": "how much the loss at the row itself would rise without it", "mean harm": harm,
    loss: "the final model's loss at the row itself", margin: "how much more the final model believes in the label than in all other classes together, the smallest first"};
  const signals = SIGNALS.filter((signal) => detectors.some(({by}) => by === signal));
  const listed = places.filter((place) => detectors[place].rows.length), best = listed[0];
  if (state.signal === null) state.signal = signals.includes(detectors[best]?.by) ? detectors[best].by : signals[0];
  if (state.detector === null) state.detector = best;
  const chance = (rows) => wrong * rows / count, rounded = (value) => String(Number(value.toFixed(1)));
  const controls = el("div", {class: "controls"}), legend = el("div", {class: "legend"}), choice = el("div", {class: "controls"}), share = el("p"), list = el("div");
  const chart = new Chart("Flipped labels found against rows looked at", {tip, pick: (point) => point.data.meta.place === undefined || choose({detector: point.data.meta.place})});
  const table = el("div"), meaning = el("p", {class: "muted small"});
  root.append(el("p", {}, `${plural(wrong, "label")} of ${plural(count, "training row")} ${wrong === 1 ? "was" : "were"} made wrong on purpose (data.flip), so that it is known which they are. A detector puts all training rows in an order, those first whose labels it suspects most, and knows nothing of the flips.`),
    el("p", {class: "finding"}, verdict()), controls, el("p", {class: "axis-title"}, `flipped labels found, of ${wrong}`), chart.frame, legend, meaning, table,
    el("h2", {}, "The rows that are suspected most"), choice, share, list);

  function isMethod({method}) { return method !== null; }

  function colour(detector) { return isMethod(detector) ? colourOf(detector.method) : visibleColour(BASELINES[detector.by]?.colour || GOLD_COLOUR); }

  // "EK-FAC, self-influence", "the row's loss"; `text` where only text can stand.
  function name(detector, text = false) {
    const own = OWN.includes(detector.by) ? `the row's ${detector.by}` : detector.by;
    if (!isMethod(detector)) return own;
    return text ? `${isolated(nameOf(detector.method))}, ${detector.by}` : [nameTag(nameOf(detector.method)), `, ${detector.by}`];
  }

  function verdict() {
    if (best === undefined) return "";
    const first = detectors[best], loss = detectors.find(({by}) => by === "loss");
    const others = loss && loss !== first ? ` In the order of the rows' losses it is ${rounded(loss.hits)}.` : "";
    const more = first.hits > chance(wrong) + 0.05 ? "" : " That is no more than chance.";
    return `The order with the highest AUC is that of ${name(first, true)}: ${rounded(first.hits)} of its first ${plural(wrong, "row")} ${first.hits === 1 ? "has a flipped label" : "have flipped labels"}.${others} By chance it would be ${rounded(chance(wrong))}.${more}`;
  }

  function drawn() {
    return places.filter((place) => detectors[place].by === state.signal || OWN.includes(detectors[place].by));
  }

  function line(place) {
    const detector = detectors[place], dash = BASELINES[detector.by]?.dash || "solid";
    return {x: looked, y: detector.curve, mode: "lines", line: {color: colour(detector), width: place === state.detector ? 3.5 : 2, dash}, hoverinfo: "none", meta: {walk: true, place}};
  }

  function traces() {
    const straight = (most, dash) => ({x: [0, most(looked.at(-1))], y: [0, dash === "dot" ? Math.min(wrong, looked.at(-1)) : chance(looked.at(-1))], mode: "lines", line: {color: cssColour("muted"), width: 1, dash}, hoverinfo: "skip", meta: {}});
    return [straight((end) => Math.min(wrong, end), "dot"), straight((end) => end, "dash"), ...drawn().map(line)];
  }

  function tip(point) {
    const detector = detectors[point.data.meta.place];
    return detector && el("div", {}, el("strong", {}, name(detector)), el("p", {}, `${rounded(point.y)} of ${wrong} flipped labels are among the first ${plural(point.x, "row")}`));
  }

  function key(detector) {
    return el("span", {class: "line-key", style: {"border-top": `3px ${BASELINES[detector.by]?.dash.includes(",") ? "dashed" : "solid"} ${colour(detector)}`}});
  }

  function drawTable() {
    const cell = (title, value) => el("td", {class: "num", "data-label": title}, value);
    const row = (detector) => el("tr", {}, el("th", {scope: "row"}, detector.by === RANDOM ? "a random order" : [key(detector), name(detector)]), cell("AUC", fixed(detector.auc)), cell("precision", fixed(detector.precision, 2)), cell("found", `${rounded(detector.hits)} of ${wrong}`));
    table.replaceChildren(el("table", {class: "values detectors"}, el("caption", {}, `AUC: how often a row with a flipped label stands before one without; 1 where all of them stand first, 0.5 by chance. Precision: the share of flipped labels among the first ${plural(wrong, "row")}. These are one draw of flips: differences of some hundredths can be chance.`),
      el("thead", {}, el("tr", {}, ["order by", "AUC", "precision", "found"].map((title, place) => el("th", {scope: "col", class: place ? "num" : null}, title)))), el("tbody", {}, detectors.map(row))));
  }

  function card(place, value, rank) {
    const open = (event) => { event.stopPropagation(); openRow(place); }, example = data.train[place];
    return el("li", {class: `card${example.right === undefined ? "" : " suspect"}`, onclick: open}, el("div", {class: "card-head"}, el("span", {}, el("span", {class: "muted"}, `${rank}. `), el("button", {type: "button", class: "name", "aria-haspopup": "dialog", onclick: open}, nameTag(example.label))), el("span", {class: "score"}, signed(value))),
      content(example, {size: 112}), saidOf(example));
  }

  function drawList() {
    const detector = detectors[state.detector];
    if (!detector) return;
    const flipped = detector.rows.filter((place) => data.train[place].right !== undefined).length, shown = detector.rows.length;
    share.replaceChildren(`The number in a card is ${MEANING[detector.by]}. ${flipped} of these ${plural(shown, "row")} ${flipped === 1 ? "has a flipped label" : "have flipped labels"}${flipped < shown ? "; the others may be unusual, hard, or wrong in the data themselves" : ""}.`);
    const first = detector.rows.slice(0, state.allSuspects ? shown : FEW), rest = shown - first.length;
    list.replaceChildren(cardList("grid", first, first.map((place, index) => card(place, detector.values[index], index + 1))),
      rest ? el("button", {type: "button", class: "more", onclick: () => choose({allSuspects: true})}, `show the next ${plural(rest, "row")}`) : "");
  }

  return (keepControls) => {
    if (!keepControls) {
      controls.replaceChildren(signals.length > 1 ? segmented("methods order by", Object.fromEntries(signals.map((signal) => [signal, signal])), state.signal, (signal) => choose({signal})) : "");
      choice.replaceChildren(select("order by", listed.map((place) => [place, name(detectors[place], true)]), state.detector, (detector) => choose({detector})));
    }
    legend.replaceChildren(...drawn().map((place) => el("span", {}, key(detectors[place]), isMethod(detectors[place]) ? nameTag(nameOf(detectors[place].method)) : name(detectors[place]))));
    meaning.textContent = `${state.signal}: ${MEANING[state.signal]}. Dotted: all flipped labels first. Dashed: by chance. The table has all orders.`;
    drawTable();
    drawList();
    return chart.draw(traces(), layoutOf(axis("rows looked at, those first that are suspected most", {range: [0, 1.01 * looked.at(-1)]}), axis("", {range: [0, 1.04 * wrong], nticks: 7})));
  };
});
