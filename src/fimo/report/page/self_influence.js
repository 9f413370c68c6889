// The rows with the largest self-influence: what the model could say of itself alone, mislabelled rows often among them.

if (data.selfInfluence?.some(Boolean)) addView("self-influence", "Self-influence", (root) => {
  const controls = el("div", {class: "controls"}), list = el("div");
  root.append(controls, el("p", {class: "muted"}, "The training rows whose own loss would rise most without them: unusual rows, and wrong labels."), list);
  const methods = methodPlaces.filter((method) => data.selfInfluence[method]);
  return (keepControls) => {
    const method = methods.includes(state.method) ? state.method : methods[0], entry = data.selfInfluence[method];
    if (!keepControls) controls.replaceChildren(select("method", methods.map((of) => [of, isolated(nameOf(of))]), method, (of) => choose({method: of})));
    const largest = Math.max(...entry.top.map((place) => Math.abs(entry.values[place])), 1e-300);
    list.replaceChildren(cardList("grid", entry.top, entry.top.map((place) => {
      const open = (event) => { event.stopPropagation(); openRow(place); }, value = entry.values[place];
      return el("li", {class: "card", onclick: open}, el("div", {class: "card-head"}, el("button", {type: "button", class: "name", "aria-haspopup": "dialog", onclick: open}, nameTag(data.train[place].label)), el("span", {class: "score"}, signed(value))),
        el("div", {class: "size helps"}, el("i", {style: {width: `${100 * Math.abs(value) / largest}%`}})), content(data.train[place], {size: 112}));
    })));
  };
});
