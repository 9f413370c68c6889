// The page's data, elements made of text alone, and numbers as people read them.

const data = JSON.parse(document.getElementById("data").textContent);
const ADJUSTMENTS = {none: "none", full: "full (eq. 17)", centred: "centred (eq. 13)"};
const GOLD = "gold standard";

// Bytes of letters; a loop is ten times as fast as Uint8Array.from with a function.
function bytesOf(letters) {
  const text = atob(letters), bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function decoded(array) {
  return array && {shape: array.shape, values: new Float32Array(bytesOf(array.float32).buffer)};
}

// A part of an array [a, b, c] at its first indices: the rest of the axes, as a view.
function part(array, ...indices) {
  let size = array.values.length, start = 0;
  indices.forEach((index, axis) => { size /= array.shape[axis]; start += index * size; });
  return array.values.subarray(start, start + size);
}

// An element; what is text stays text, whatever signs it has.
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, of] of Object.entries(value)) element.style.setProperty(name, of);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// The user's own text: isolated, so that a change of direction in it ends with it.
function own(text, attributes = {}) {
  const element = el("bdi", attributes);
  element.textContent = text;
  return element;
}

// The same with no more than a line of it: names that stand in buttons and legends.
function nameTag(text, most = 80) {
  const letters = Array.from(text);
  return own(letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text);
}

// The same for places that take text alone, such as options: isolates of Unicode.
function isolated(text, most = 60) {
  const letters = Array.from(text);
  return `\u2068${letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text}\u2069`;
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function superscript(number) {
  const digits = String(Math.abs(number)).split("").map((digit) => SUPERSCRIPTS[digit]).join("");
  return (number < 0 ? "⁻" : "") + digits;
}

// 0.0123, 12.3, 1.2 × 10⁻⁵; with a sign where it matters.
function number(value, digits = 3, signed = false) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value), sign = value < 0 ? "−" : signed && value > 0 ? "+" : "";
  if (size === 0) return "0";
  if (size >= 1e-3 && size < 1e5) {
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    return sign + (size >= 10 ** digits ? size.toFixed(0) : size.toFixed(Math.min(decimals, 5)));
  }
  const [mantissa, exponent] = size.toExponential(Math.max(1, digits - 2)).split("e");
  return `${sign}${mantissa} × 10${superscript(Number(exponent))}`;
}

function signed(value, digits = 3) { return number(value, digits, true); }

// Agreement: decimals that all of a column share.
function fixed(value, decimals = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toFixed(decimals).replace("-", "−");
}

function withError(value, error) {
  const text = fixed(value);
  return Number.isFinite(error) && text !== "–" ? `${text} ± ${fixed(error)}` : text;
}

// A number in any unit with its error: both in the decimals that two digits of the error need.
function measuredText(value, error) {
  if (!Number.isFinite(value)) return "–";
  if (!Number.isFinite(error) || error <= 0) return signed(value);
  const largest = Math.max(Math.abs(value), error), power = largest >= 1e-3 && largest < 1e5 ? 0 : Math.floor(Math.log10(largest));
  const scale = 10 ** power, decimals = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(error / scale))));
  const sign = value < 0 ? "−" : value > 0 ? "+" : "", text = `${sign}${Math.abs(value / scale).toFixed(decimals)} ± ${(error / scale).toFixed(decimals)}`;
  return power ? `(${text}) × 10${superscript(power)}` : text;
}

function amountText(epoch) { return epoch === null || epoch === undefined ? "–" : String(Number(epoch.toPrecision(4))); }

function epochsText(epoch) { return `${amountText(epoch)} ${epoch === 1 ? "epoch" : "epochs"}`; }

function plural(count, one, several = `${one}s`) { return `${count.toLocaleString("en")} ${count === 1 ? one : several}`; }

// What a positive score says.
const HELPS = data.watched ? "raises it most" : "most helpful";
const HARMS = data.watched ? "lowers it most" : "most harmful";
const HELPS_TESTS = data.watched ? HELPS : "helps most";
const HARMS_TESTS = data.watched ? HARMS : "harms most";
const UNIT = data.several === "rows" ? "training row" : "group";
