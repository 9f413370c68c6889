// Controls: native radio buttons, lists, sliders and buttons, so that keyboards and screen readers know them.

let controlCount = 0;

function segmented(title, options, value, onchange) {
  const name = `control-${controlCount++}`;
  const inputs = Object.entries(options).map(([key, text]) => {
    const input = el("input", {type: "radio", name, id: `${name}-${key}`, value: key, onchange: () => onchange(key)});
    input.checked = key === value;
    return [input, el("label", {for: `${name}-${key}`}, text)];
  });
  return el("fieldset", {class: "segmented", "data-control": title}, el("legend", {}, title), el("div", {class: "segments"}, inputs));
}

function select(title, options, value, onchange) {
  const id = `control-${controlCount++}`, list = el("select", {id, onchange: () => onchange(Number(list.value))});
  options.forEach(([key, text]) => {
    const option = el("option", {value: key});
    option.textContent = text;
    list.append(option);
  });
  list.value = String(value);
  return el("div", {class: "control", "data-control": title}, el("label", {for: id}, title), list);
}

// A list with buttons for the one before and the one behind.
function stepper(title, options, value, onchange) {
  const place = options.findIndex(([key]) => key === value);
  const button = (text, name, to) => el("button", {type: "button", class: "step", "aria-label": name, disabled: to < 0 || to >= options.length, onclick: () => onchange(options[to][0])}, text);
  const control = select(title, options, value, onchange);
  control.append(button("‹", `previous ${title}`, place - 1), button("›", `next ${title}`, place + 1));
  control.classList.add("stepper");
  return control;
}

// While it is dragged, `onchange` gets true: what holds the slider must not be drawn again then.
function slider(title, texts, value, onchange) {
  const id = `control-${controlCount++}`, output = el("output", {for: id}, texts[value]);
  const input = el("input", {type: "range", id, min: 0, max: texts.length - 1, step: 1, value, "aria-valuetext": texts[value], oninput: () => {
    input.setAttribute("aria-valuetext", texts[input.value]);
    output.textContent = texts[input.value];
    onchange(Number(input.value), true);
  }, onchange: () => onchange(Number(input.value), false)});
  return el("div", {class: "control slider", "data-control": title}, el("label", {for: id}, title), input, output);
}

function swatch(method) {
  return el("span", {class: "swatch", style: {background: colourOf(method)}});
}

// Methods that are switched on and off; `visible` is a set of their places, −1 for the gold standard.
function chips(title, methods, visible, onchange) {
  return el("div", {class: "chips", role: "group", "aria-label": title}, methods.map((method) =>
    el("button", {type: "button", class: "chip", "aria-pressed": String(visible.has(method)), onclick: (event) => {
      const on = event.currentTarget.getAttribute("aria-pressed") === "false", next = new Set(visible);
      if (on) next.add(method); else next.delete(method);
      onchange(next);
    }}, swatch(method), nameTag(nameOf(method)))));
}

// Keeps the focus on the control that was used, though the view was drawn again.
function keepingFocus(root, redraw) {
  const active = document.activeElement, inside = root.contains(active) && active;
  const controls = () => [...root.querySelectorAll("button, input, select")];
  const place = inside ? controls().indexOf(inside) : -1;
  redraw();
  if (place >= 0 && !root.contains(document.activeElement)) controls()[place]?.focus({preventScroll: true});
}
