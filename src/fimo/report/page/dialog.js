// A training row by itself: which test examples it helps and harms most.

const dialog = document.getElementById("row");
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function openRow(place) {
  const example = data.train[place];
  const close = el("button", {type: "button", class: "plain close", "aria-label": "close", onclick: () => dialog.close()}, "✕");
  dialog.replaceChildren(el("div", {class: "dialog-body"}, el("div", {class: "dialog-head"}, el("h2", {id: "row-title"}, `${UNIT[0].toUpperCase()}${UNIT.slice(1)} `, clippedText(example.label, 120)), close),
    content(example, {all: true, size: 160}), saidOf(example), selfInfluenceNote(place), effectsOnTests(place)));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function selfInfluenceNote(place) {
  const of = (data.selfInfluence || []).map((entry, method) => [method, entry?.values[place]]).filter(([, value]) => value !== undefined && value !== null);
  return of.length ? el("p", {}, "Self-influence: ", of.map(([method, value], index) => [index ? ", " : "", swatch(method), nameTag(nameOf(method)), ` ${signed(value)}`])) : null;
}

function testButton(test, score) {
  const example = data.test[tests[test]];
  return el("li", {}, el("button", {type: "button", class: "link", onclick: () => { dialog.close(); openView("example", {test}); }},
    nameTag(example.label, 60), el("span", {class: "score"}, ` ${signed(score, 2)}`)));
}

// A training row's scores for all test examples by one ranking: of a list of rankings' ends only those that name it.
function overTests(method, place) {
  if (effects) {
    const index = effects.trains.indexOf(place);
    return tests.map((_, test) => [test, scoresOf(method, state.step, test)[index]]);
  }
  const named = ([places, scores], test) => places.flatMap((row, index) => row === place ? [[test, scores[index]]] : []);
  const entries = ranking.entries[method], entry = entries[Math.min(state.step, entries.length - 1)];
  return entry ? tests.flatMap((_, test) => [...named(entry.helpful[test], test), ...named(entry.harmful[test], test)]) : [];
}

function effectsOnTests(place) {
  if (!tests.length) return null;
  const methods = [...(effects ? [-1] : []), ...scored].filter((method) => method < 0 || state.columns.has(method) || (state.view === "scatter" && method === state.method));
  const lines = methods.map((method) => {
    const pairs = overTests(method, place).filter(([, score]) => Number.isFinite(score)).sort((a, b) => b[1] - a[1]);
    const list = (end) => end.length ? el("ul", {}, end.map(([test, score]) => testButton(test, score))) : "none";
    return el("tr", {}, el("th", {scope: "row"}, swatch(method), nameTag(nameOf(method))),
      el("td", {"data-label": HELPS_TESTS}, list(pairs.filter(([, score]) => score > 0).slice(0, 3))), el("td", {"data-label": HARMS_TESTS}, list(pairs.filter(([, score]) => score < 0).reverse().slice(0, 3))));
  });
  const note = effects ? `after ${epochsText(effects.epochs[state.step])}` : "among the rankings on this page that name it";
  return [el("h3", {}, "Test examples ", el("span", {class: "muted small"}, note)),
    el("table", {class: "on-tests"}, el("thead", {}, el("tr", {}, ["by", HELPS_TESTS, HARMS_TESTS].map((title) => el("th", {scope: "col"}, title)))), el("tbody", {}, lines))];
}
