// Tabs, the address, printing, and the first view.

const tabs = document.getElementById("tabs");

function openView(id, changes = {}) {
  const view = views.find((other) => other.id === id) || views[0];
  Object.assign(state, changes, {view: view.id});
  for (const {id: other, root} of views) {
    root.hidden = other !== view.id;
    const tab = document.getElementById(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === view.id));
    tab.tabIndex = other === view.id ? 0 : -1;
  }
  if (location.hash !== `#${view.id}`) history.replaceState(null, "", `#${view.id}`);
  return view.draw(false);
}

function addTabs() {
  for (const {id, title, root} of views) {
    tabs.append(el("button", {type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `view-${id}`, onclick: () => openView(id)}, title));
    document.getElementById("views").append(root);
  }
  tabs.addEventListener("keydown", (event) => {
    const order = views.map(({id}) => id), at = order.indexOf(state.view);
    const to = {ArrowRight: (at + 1) % order.length, ArrowLeft: (at + order.length - 1) % order.length, Home: 0, End: order.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    openView(order[to]);
    document.getElementById(`tab-${order[to]}`).focus();
  });
}

// On paper all views stand one after the other, in light colours.
async function printAll(start) {
  printing = start;
  document.documentElement.classList.toggle("printing", start);
  applyTheme();
  for (const {id, root, draw} of views) {
    root.hidden = !start && id !== state.view;
    if (start) await draw(false);
  }
  if (!start) redraw();
}

window.addEventListener("beforeprint", () => printAll(true));
window.addEventListener("afterprint", () => printAll(false));
window.addEventListener("hashchange", () => openView(location.hash.slice(1)));

document.getElementById("subtitle").textContent = data.subtitle;
addTabs();
applyTheme();
themeListeners.push(() => redraw());
let laidOut = window.innerWidth;
window.addEventListener("resize", () => { if (Math.abs(window.innerWidth - laidOut) > 60) { laidOut = window.innerWidth; redraw(true); } });
Promise.resolve(openView(location.hash.slice(1))).then(() => { document.documentElement.dataset.ready = String(Math.round(performance.now())); });
