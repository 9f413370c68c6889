// Plotly, unpacked from the page, with a tooltip of our own (Plotly would read tags in it) and points for the keyboard.

const plotlyReady = (async () => {
  const packed = document.getElementById("plotly");
  const stream = new Blob([bytesOf(packed.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  packed.remove();
  document.head.append(script);
  return window.Plotly;
})();

const CONFIG = {displayModeBar: false, responsive: true, doubleClick: "reset"};

function axis(title, more = {}) {
  const line = cssColour("line"), text = cssColour("muted");
  return {title: {text: title, font: {size: 13, color: text}, standoff: 8}, gridcolor: line, zerolinecolor: cssColour("strong-line"), linecolor: line, color: text,
    tickfont: {size: 12}, automargin: true, exponentformat: "power", showexponent: "all", minexponent: 4, ...more};
}

function layoutOf(x, y, more = {}) {
  const touch = window.matchMedia("(pointer: coarse)").matches;
  return {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: "system-ui, sans-serif", color: cssColour("text")},
    margin: {l: 52, r: 14, t: 12, b: 46}, showlegend: false, hovermode: "closest", dragmode: touch ? false : "zoom", xaxis: x, yaxis: y, ...more};
}

// Ticks of a logarithmic axis at 1, 2 and 5 where there is room, else at powers of ten.
function logTicks(low, high, width) {
  const decades = Math.log10(high / low), steps = decades < width / 180 ? [1, 2, 5] : decades < width / 110 ? [1, 3] : [1], ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(Number(value.toPrecision(3)));
    }
  }
  return {tickvals: ticks, ticktext: ticks.map(amountText)};
}

class Chart {
  // `label` names the chart for those who hear the page; `tip(point)` gives the tooltip, `pick(point)` acts on a click.
  constructor(label, {tip, pick, className = ""}) {
    this.box = el("div", {class: "plot"});
    this.tip = el("div", {class: "tip", role: "status", "aria-live": "polite"});
    this.frame = el("div", {class: `chart ${className}`, tabindex: "0", role: "group", "aria-label": `${label}. Arrow keys go from point to point, Enter chooses.`}, this.box, this.tip);
    this.tipOf = tip;
    this.pick = pick;
    this.at = null;
    this.frame.addEventListener("keydown", (event) => this.onKey(event));
    this.frame.addEventListener("blur", () => this.hide());
  }

  async draw(traces, layout) {
    const Plotly = await plotlyReady;
    this.hide();
    await Plotly.react(this.box, traces, layout, CONFIG);
    if (this.listening) return;
    this.listening = true;
    this.box.on("plotly_hover", (event) => this.show(event.points[0]));
    this.box.on("plotly_unhover", () => this.hide());
    this.box.on("plotly_click", (event) => this.pick && this.pick(event.points[0]));
  }

  show(point) {
    const tip = this.tipOf(point);
    if (!tip) return;
    this.tip.replaceChildren(tip);
    this.tip.classList.add("open");
    const x = point.xaxis._offset + point.xaxis.d2p(point.x), y = point.yaxis._offset + point.yaxis.d2p(point.y);
    const width = this.tip.offsetWidth, height = this.tip.offsetHeight, room = this.frame.clientWidth;
    // Beside the point where there is room, else below or above it: the point itself stays in sight.
    const beside = x + 14 + width <= room ? x + 14 : x - 14 - width >= 0 ? x - 14 - width : null;
    const middle = Math.max(0, Math.min(y - height / 2, this.frame.clientHeight - height));
    this.tip.style.left = `${beside ?? Math.max(0, Math.min(x - width / 2, room - width))}px`;
    this.tip.style.top = `${beside !== null ? middle : y + 16 + height <= this.frame.clientHeight ? y + 16 : Math.max(0, y - 16 - height)}px`;
  }

  hide() {
    this.tip.classList.remove("open");
    this.tip.replaceChildren();
  }

  // Curves whose points can be visited: those with names.
  onKey(event) {
    const full = this.box._fullLayout, moves = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]};
    if (!full) return;
    if (event.key === "Escape") this.hide();
    if (event.key === "Enter" && this.at && this.pick) this.pick(this.at);
    if (!moves[event.key]) return;
    event.preventDefault();
    const curves = this.box.data.filter((trace) => trace.meta?.walk);
    if (!curves.length) return;
    const [down, right] = moves[event.key];
    const curve = Math.max(0, Math.min(curves.length - 1, (this.curve ?? 0) + down)), trace = curves[curve];
    const order = trace.meta.order || [...trace.x.keys()];
    const place = this.place === undefined ? 0 : Math.max(0, Math.min(order.length - 1, this.place + right));
    [this.curve, this.place] = [curve, place];
    const index = order[place];
    this.at = {x: trace.x[index], y: trace.y[index], pointNumber: index, pointIndex: index, data: trace, xaxis: full.xaxis, yaxis: full.yaxis, customdata: trace.customdata?.[index]};
    if (Number.isFinite(this.at.y)) this.show(this.at);
  }
}
