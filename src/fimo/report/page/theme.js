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

// A colour of the figures, which are on white, moved towards the text's until it can be seen on this ground.
function visibleColour(hex) {
  const ground = channels(cssColour("ground")), towards = channels(cssColour("text"));
  let rgb = channels(hex);
  for (let share = 0.1; contrast(rgb, ground) < (isDark() ? 4 : 2) && share <= 1; share += 0.1) {
    rgb = channels(hex).map((c, place) => c + share * (towards[place] - c));
  }
  return `rgb(${rgb.map((c) => Math.round(255 * c)).join(",")})`;
}

function faint(colour, opacity) { return colour.replace("rgb(", "rgba(").replace(")", `,${opacity})`); }

const GOLD_COLOUR = "#5b6570";
function colourOf(method) { return visibleColour(method < 0 ? GOLD_COLOUR : data.methods[method].colour); }
function nameOf(method) { return method < 0 ? GOLD : data.methods[method].label; }
