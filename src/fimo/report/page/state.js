// What is chosen, for all views alike: a method, an amount or a test example keeps its place from view to view.

const effects = data.effects && {...data.effects, values: decoded(data.effects.values), scores: data.effects.scores.map(decoded), losses: decoded(data.effects.losses)};
const ranking = data.ranking;
const methodPlaces = data.methods.map((_, place) => place);
const scored = methodPlaces.filter((method) => effects ? effects.scores[method] : ranking?.entries[method].length);
const tests = effects ? effects.tests : ranking ? ranking.tests : [];

function defaultColumns() {
  const room = window.innerWidth >= 1100 ? 4 : window.innerWidth >= 760 ? 3 : 2;
  return new Set([...(effects ? [-1] : []), ...scored].slice(0, room));
}

const state = {view: null, measure: "cosine", adjustment: "centred", logarithmic: null, visible: new Set(methodPlaces),
  method: scored[0] ?? 0, step: effects ? effects.epochs.length - 1 : 0, test: 0, columns: defaultColumns(), count: 3, row: null, share: null, signal: null, detector: null, allSuspects: false};
const views = [];

// Change what is chosen and draw the view again; with `keepControls` its controls stay as they are.
function choose(changes, keepControls = false) {
  Object.assign(state, changes);
  redraw(keepControls);
}

function redraw(keepControls = false) {
  const view = views.find(({id}) => id === state.view);
  if (view) keepingFocus(view.root, () => view.draw(keepControls));
}

// A part of the page with a title; `draw` is called whenever something was chosen.
function addView(id, title, build) {
  const root = el("section", {id: `view-${id}`, class: "view", role: "tabpanel", "aria-labelledby": `tab-${id}`, "data-title": title, tabindex: "-1"});
  root.hidden = true;
  views.push({id, title, root, draw: build(root)});
}

function mean(values) { return values.reduce((sum, value) => sum + value, 0) / values.length; }

// Effects of all left-out rows on a test example, as adjusted; centred over those whose runs are finite.
function goldOf(step, test, adjustment = state.adjustment) {
  const values = Array.from(part(effects.values, step, test));
  if (adjustment !== "centred") return values;
  const centre = mean(values.filter(Number.isFinite));
  return values.map((value) => value - centre);
}

function scoresOf(method, step, test) {
  if (method < 0) return goldOf(step, test);
  const scores = effects.scores[method];
  return Array.from(scores.shape.length === 3 ? part(scores, step, test) : part(scores, test));
}

// Cosine, Pearson and Spearman of two rows of numbers, where both are finite.
function agreement(one, other) {
  const pairs = one.map((value, place) => [value, other[place]]).filter((pair) => pair.every(Number.isFinite));
  const [x, y] = [0, 1].map((axis) => pairs.map((pair) => pair[axis]));
  const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0) / Math.sqrt(a.reduce((s, v) => s + v * v, 0) * b.reduce((s, v) => s + v * v, 0));
  const centred = (a) => { const centre = mean(a); return a.map((value) => value - centre); };
  return {n: pairs.length, cosine: cosine(x, y), pearson: cosine(centred(x), centred(y)), spearman: cosine(centred(ranks(x)), centred(ranks(y)))};
}

// Ranks from 1; equal values share the mean of theirs.
function ranks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]), of = new Array(values.length);
  for (let start = 0, end; start < order.length; start = end) {
    for (end = start; end < order.length && values[order[end]] === values[order[start]]; end++);
    for (let place = start; place < end; place++) of[order[place]] = (start + end + 1) / 2;
  }
  return of;
}

// Both ends of a ranking: [[place of the training row, score], …], the largest sizes first.
function endsOf(method, step, test, count) {
  if (!effects) return rankedEnds(method, step, test, count);
  const pairs = scoresOf(method, step, test).map((score, place) => [effects.trains[place], score]).filter(([, score]) => Number.isFinite(score));
  pairs.sort((a, b) => b[1] - a[1]);
  return {helpful: pairs.filter(([, score]) => score > 0).slice(0, count), harmful: pairs.reverse().filter(([, score]) => score < 0).slice(0, count)};
}

function rankedEnds(method, step, test, count) {
  const entries = ranking.entries[method], entry = entries[Math.min(step, entries.length - 1)];
  const pairs = ([places, scores]) => places.map((place, index) => [place, scores[index]]).slice(0, count);
  return entry ? {helpful: pairs(entry.helpful[test]), harmful: pairs(entry.harmful[test])} : {helpful: [], harmful: []};
}

const lossNote = (test) => effects?.losses ? `${data.watched || "loss"} of the final model ${number(effects.losses.values[test])}` : "";
