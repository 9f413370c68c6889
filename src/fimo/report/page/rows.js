// Examples as people want to see them: a table's row, a sentence with its tokens, a picture, or text.

const CLIPPED = 280, CELLS = 5, CLIPPED_CELL = 60;

// Long text with the rest behind a button. `draw(length)` gives nodes of so many letters.
function clipped(length, most, draw, what) {
  if (length <= most) return draw(length);
  const body = el("span", {}, draw(most), "…");
  const button = el("button", {type: "button", class: "more", "aria-expanded": "false"});
  const name = () => `show all ${length.toLocaleString("en")} characters${what ? ` of ${what}` : ""}`;
  button.textContent = name();
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    const open = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "show less" : name();
    body.replaceChildren(...[open ? draw(length) : [draw(most), "…"]].flat(Infinity));
  });
  return el("span", {class: "clipped"}, body, " ", button);
}

function clippedText(text, most = CLIPPED, attributes = {}) {
  const letters = Array.from(text);
  return clipped(letters.length, most, (length) => own(length < letters.length ? letters.slice(0, length).join("") : text, attributes));
}

function deviationText(cell) {
  const [, , deviation, share] = cell;
  if (share !== null) return share < 0.0095 ? "< 1 % of rows" : `${Math.round(100 * share)} % of rows`;
  return deviation === null ? "" : `${deviation < 0 ? "−" : "+"}${Math.abs(deviation).toFixed(1)} SD`;
}

// A number's own minus; categories and text stay as they are.
function numeral([, text, , share]) {
  return share === null && /^-[\d.]/.test(text) ? `−${text.slice(1)}` : text;
}

// How far from the mean: a bar around the middle, with a tick where the test example lies.
function deviationBar(cell, other) {
  const [, , deviation, share] = cell;
  if (share !== null || deviation === null) return null;
  const at = (value) => 50 + 50 * Math.max(-3, Math.min(3, value)) / 3, here = at(deviation);
  const bar = el("span", {class: "bar"}, el("i", {style: {left: `${Math.min(50, here)}%`, width: `${Math.abs(here - 50)}%`}}));
  if (other && other[2] !== null && other[3] === null) bar.append(el("b", {style: {left: `${at(other[2])}%`}}));
  return bar;
}

function cellsTable(example, reference, all) {
  const others = new Map((reference?.cells || []).map((cell) => [cell[0], cell]));
  const draw = (count) => example.cells.slice(0, count).map((cell) => {
    const other = others.get(cell[0]), same = other && other[1] === cell[1];
    const title = other ? `${deviationText(cell)}; test example: ${isolated(other[1], 40)}` : deviationText(cell);
    return el("tr", {class: same ? "same" : null, title},
      el("th", {scope: "row"}, clippedText(cell[0], CLIPPED_CELL)),
      el("td", {class: "value"}, clippedText(numeral(cell), CLIPPED_CELL), same ? el("span", {class: "equal", title: "equal to the test example's"}, "\u00a0=") : null),
      el("td", {class: "deviation"}, deviationBar(cell, other), el("span", {}, deviationText(cell))));
  });
  const body = el("tbody", {}, draw(all ? example.cells.length : CELLS));
  const parts = [el("table", {class: "cells"}, body)];
  if (!all && example.cells.length > CELLS) {
    const button = el("button", {type: "button", class: "more", "aria-expanded": "false"}, `all ${example.cells.length} columns`);
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      const open = button.getAttribute("aria-expanded") === "false";
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? "fewer columns" : `all ${example.cells.length} columns`;
      body.replaceChildren(...draw(open ? example.cells.length : CELLS));
    });
    parts.push(button);
  }
  const hidden = example.columns - example.cells.length;
  if (all && hidden > 0) parts.push(el("p", {class: "muted small"}, `${plural(hidden, "more column")} nearer to the mean`));
  return parts;
}

// A sentence in its own words, each token marked; those that the test example has too stand out.
function sentence(text, tokens, shared) {
  const letters = Array.from(text);
  return clipped(letters.length, CLIPPED, (length) => {
    const line = el("bdi", {class: "sentence"});
    let place = 0;
    for (const [start, end, token, known] of tokens) {
      if (start >= length) break;
      if (start > place) line.append(letters.slice(place, start).join(""));
      const kind = ["token", known ? "" : "unknown", shared?.has(token) && known ? "shared" : ""].join(" ").trim();
      const piece = el("span", {class: kind, title: known ? isolated(token, 40) : "not in the vocabulary"});
      piece.textContent = letters.slice(start, Math.min(end, length)).join("");
      line.append(piece);
      place = Math.min(end, length);
    }
    const rest = letters.slice(place, length).join("");
    if (rest.trim() && length === letters.length) line.append(el("span", {class: "cut", title: "cut off: the network does not see it"}, rest));
    else line.append(rest);
    return line;
  });
}

function tokenSet(example) { return example?.tokens && new Set(example.tokens.flat().filter((token) => token[3] && /[\p{L}\p{N}]/u.test(token[2])).map((token) => token[2])); }

function picture(example, size) {
  return el("img", {class: "picture", src: data.pictures[example.picture], alt: `picture of ${isolated(example.class || example.label)}`, width: size, height: size});
}

// A mark on training rows whose label was made wrong, wherever they stand.
function flipMark(example) {
  return example.right === undefined ? null : el("p", {class: "flipped"}, "⚑ flipped label");
}

// The content of an example, without its name.
function content(example, options) {
  const plain = plainContent(example, options), mark = flipMark(example);
  return mark ? el("div", {}, mark, plain) : plain;
}

function plainContent(example, {reference = null, all = false, size = 72} = {}) {
  if (example.members) {
    return el("div", {class: "members"}, el("p", {class: "muted small"}, plural(example.size, "training row"), example.size > example.members.length ? `; the first ${example.members.length}:` : ":"),
      example.members.map((member) => el("div", {class: "member"}, nameTag(member.label), content(member, {reference, all, size}))));
  }
  if (example.cells) return el("div", {class: "table-row"}, targets(example), cellsTable(example, reference, all));
  if (example.texts) {
    const shared = tokenSet(reference);
    return el("div", {class: "text-row"}, example.texts.map((text, place) => el("p", {}, sentence(text, example.tokens[place], shared))), label(example));
  }
  if (example.picture !== undefined) return el("div", {class: "picture-row"}, picture(example, size), label(example));
  return el("p", {class: "text-row"}, clippedText(example.text));
}

function label(example) { return example.class ? el("p", {class: "class"}, clippedText(example.class, CLIPPED_CELL)) : null; }

function targets(example) {
  return el("p", {class: "targets"}, example.targets.map(([name, value], place) =>
    [place ? ", " : "", el("span", {class: "muted"}, clippedText(name, CLIPPED_CELL), ": "), clippedText(value, CLIPPED_CELL, {class: "strong"})]));
}

// What the final model predicts of it.
function saidOf(example) { return example.predicted ? el("p", {class: "predicted"}, clippedText(example.predicted)) : null; }

// A list of cards: pictures are small enough to stand side by side.
function cardList(kind, places, cards) {
  return el("ol", {class: `${kind}${places.some((place) => data.train[place].picture !== undefined) ? " pictures" : ""}`}, cards);
}

// One line for options.
function summary(example) {
  if (example.members) return plural(example.size, "row");
  if (example.targets) return example.targets.map(([name, value]) => `${name} ${value}`).join(", ");
  if (example.texts) return example.texts.join(" / ");
  return example.class || example.text || "";
}
