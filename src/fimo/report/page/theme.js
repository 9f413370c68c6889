// Light and dark: the reader's system decides until the button does; colours of methods stay apart from both grounds.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const themeListeners = [];
let printing = false;

function isDark() {
  if (printing) return false;
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

function applyTheme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.toggle("dark", isDark());
  const button = document.getElementById("theme");
  button.textContent = isDark() ? "☀ light" : "☾ dark";
  button.setAttribute("aria-label", isDark() ? "light colours" : "dark colours");
  themeListeners.forEach((listener) => listener());
}

document.getElementById("theme").addEventListener("click", () => applyTheme(isDark() ? "light" : "dark"));
dark.addEventListener("change", () => applyTheme());

function cssColour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function channels(hex) { return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16) / 255); }

function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

// The same hue with its channels' middle at another lightness, 0 to 1.
function withLightness(rgb, lightness) {
  const [low, high] = [Math.min(...rgb), Math.max(...rgb)], middle = (low + high) / 2;
  if (high === low) return [lightness, lightness, lightness];
  const room = (at) => 1 - Math.abs(2 * at - 1);
  return rgb.map((channel) => lightness + (channel - middle) * room(lightness) / room(middle));
}

// A colour of the figures, which are on white, lighter where it could not be seen on a dark ground; black becomes text's.
function visibleColour(hex) {
  const ground = channels(cssColour("ground")), first = channels(hex);
  let rgb = first;
  if (isDark() && Math.max(...first) < 0.1) rgb = channels(cssColour("text"));
  for (let lightness = (Math.max(...first) + Math.min(...first)) / 2; isDark() && contrast(rgb, ground) < 4.5 && lightness < 0.96; lightness += 0.03) {
    rgb = withLightness(first, lightness);
  }
  return `rgb(${rgb.map((c) => Math.round(255 * c)).join(",")})`;
}

function faint(colour, opacity) { return colour.replace("rgb(", "rgba(").replace(")", `,${opacity})`); }

const GOLD_COLOUR = "#5b6570";
function colourOf(method) { return visibleColour(method < 0 ? GOLD_COLOUR : data.methods[method].colour); }
function nameOf(method) { return method < 0 ? GOLD : data.methods[method].label; }
