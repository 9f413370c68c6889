// A test example with its most helpful and most harmful training rows, by each method beside the gold standard.

if (tests.length) addView("example", "Example", (root) => {
  const controls = el("div", {class: "controls"}), chosen = el("div"), head = el("div", {class: "test-card"}), signs = el("p", {class: "muted small signs"}), columns = el("div", {class: "columns"});
  root.append(controls, chosen, head, signs, columns);
  const stepCount = effects ? 0 : Math.max(...ranking.entries.map((entries) => entries.length));

  function drawControls() {
    controls.replaceChildren(testStepper(), effects ? amountSlider() : stepSlider(), effects ? adjustmentOfEffects() : "",
      segmented("rows at each end", {3: "3", 5: "5", 10: "10"}, String(state.count), (count) => choose({count: Number(count)})));
    chosen.replaceChildren(chips("columns", [...(effects ? [-1] : []), ...scored], state.columns, (columns) => choose({columns})));
  }

  // Of methods that know the amount; the others have one ranking.
  function stepSlider() {
    if (stepCount < 2) return "";
    const longest = ranking.entries.find((entries) => entries.length === stepCount);
    return slider("amount", longest.map(entryAmount), Math.min(state.step, stepCount - 1), (step, dragged) => choose({step}, dragged));
  }

  function card(place, score, largest, alsoGold, reference) {
    const example = data.train[place];
    const open = (event) => { event.stopPropagation(); openRow(place); };
    const button = el("button", {type: "button", class: "name", "aria-haspopup": "dialog", onclick: open}, nameTag(example.label));
    return el("li", {class: `card${alsoGold ? " also" : ""}`, onclick: open},
      el("div", {class: "card-head"}, button, el("span", {class: "score"}, signed(score))),
      el("div", {class: `size ${score > 0 ? "helps" : "harms"}`}, el("i", {style: {width: `${100 * Math.abs(score) / largest}%`}})),
      alsoGold ? el("p", {class: "badge"}, "★ the gold standard names it too") : null,
      content(example, {reference, size: 112}));
  }

  function column(method) {
    const ends = endsOf(method, state.step, state.test, state.count), reference = data.test[tests[state.test]];
    const gold = effects && method >= 0 ? endsOf(-1, state.step, state.test, state.count) : null;
    const largest = Math.max(...[...ends.helpful, ...ends.harmful].map(([, score]) => Math.abs(score)), 1e-300);
    const list = (end, title) => {
      const named = new Set(gold?.[end].map(([place]) => place));
      const both = ends[end].filter(([place]) => named.has(place)).length;
      return [el("h4", {}, title, gold && ends[end].length ? el("span", {class: "muted small"}, ` ${both} of ${ends[end].length} as measured`) : null),
        ends[end].length ? cardList(end, ends[end].map(([place]) => place), ends[end].map(([place, score]) => card(place, score, largest, named.has(place), reference))) : el("p", {class: "muted"}, "none")];
    };
    return el("section", {class: "column", "aria-label": nameOf(method)}, el("h3", {}, swatch(method), nameTag(nameOf(method))), el("p", {class: "muted small"}, columnNote(method)),
      list("helpful", HELPS), list("harmful", HARMS));
  }

  const entryAmount = ({step, epoch}) => epoch === null ? `step ${step}` : epochsText(epoch);

  // What the signs in the cards mean.
  function signsOf(example) {
    if (example.cells) return "SD: standard deviations from the training rows' mean, as long as the grey bar; blue tick: where the test example lies; =: equal to it. The furthest from the mean come first.";
    if (example.texts) return "Underlined: tokens; marked: tokens of the test example; dashed: not in the vocabulary; struck through: cut off.";
    return "";
  }

  function columnNote(method) {
    if (!effects) {
      const entries = ranking.entries[method], entry = entries[Math.min(state.step, entries.length - 1)];
      return entry && entry.step !== null ? `of all training rows, after ${entryAmount(entry)}` : "of all training rows";
    }
    if (method < 0) return `measured, mean over ${plural(data.curves?.seeds ?? 1, "seed")}`;
    return `cosine ${fixed(agreement(scoresOf(method, state.step, state.test), goldOf(state.step, state.test)).cosine)} with the gold standard here`;
  }

  return (keepControls) => {
    if (!keepControls) drawControls();
    const reference = data.test[tests[state.test]];
    head.replaceChildren(el("h2", {}, "Test example ", clippedText(reference.label, 120)), content(reference, {size: 128}), saidOf(reference) || "", el("p", {class: "muted small"}, lossNote(state.test)));
    signs.textContent = signsOf(reference);
    const methods = [...(effects ? [-1] : []), ...scored].filter((method) => state.columns.has(method));
    columns.style.setProperty("--columns", methods.length || 1);
    columns.replaceChildren(...(methods.length ? methods.map(column) : [el("p", {class: "muted"}, "Choose a column above.")]));
  };
});
