// Claims with verdicts, and what was run.

function verdictClass(verdict) {
  return verdict.startsWith("holds") ? "holds" : verdict.startsWith("does not") ? "fails" : "open";
}

function claimsTable() {
  if (!data.claims?.length) return null;
  const numbers = data.claims.some(({estimate}) => Number.isFinite(estimate));
  const line = (claim) => el("tr", {}, el("th", {scope: "row"}, clippedText(claim.claim), claim.statistic ? el("p", {class: "muted small"}, clippedText(claim.statistic)) : null),
    numbers ? el("td", {class: "num", "data-label": "statistic"}, withError(claim.estimate, claim.standard_error)) : null,
    el("td", {"data-label": "verdict"}, el("span", {class: `verdict ${verdictClass(String(claim.verdict))}`}, nameTag(String(claim.verdict), 30)), claim.note && !Number.isFinite(claim.estimate) ? el("p", {class: "muted small"}, clippedText(claim.note)) : null));
  return el("table", {class: "values claims"}, el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "claim"), numbers ? el("th", {scope: "col", class: "num"}, "statistic ± error") : null, el("th", {scope: "col"}, "verdict"))), el("tbody", {}, data.claims.map(line)));
}

function flattened(value, path = "") {
  if (value === null || typeof value !== "object") return [[path, value === null ? "null" : String(value)]];
  if (Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, entry]) => flattened(entry, path ? `${path}.${key}` : key));
}

function pairs(entries, className = "") {
  return el("dl", {class: `pairs ${className}`}, entries.map(([key, value]) => el("div", {}, el("dt", {}, nameTag(String(key), 120)), el("dd", {}, value instanceof Node ? value : clippedText(String(value))))));
}

function seconds(value) { return value >= 100 ? `${value.toFixed(0)} s` : `${value.toFixed(value < 10 ? 2 : 1)} s`; }

addView("about", "About", (root) => {
  const record = data.record, methods = Object.entries(record.methods || {});
  const warnings = [...(data.notes || []), ...(record.diverged?.length ? [`Diverged: ${record.diverged.join("; ")}.`] : [])];
  if (warnings.length) root.append(el("h2", {}, "Notes and warnings"), el("ul", {class: "notes"}, warnings.map((note) => el("li", {}, clippedText(note)))));
  if (claimsTable()) root.append(el("h2", {}, "Claims"), claimsTable(), el("p", {class: "muted small"}, "A claim holds where its statistic is more than two standard errors above zero, does not hold where it is as far below, and is not decided between."));
  if (methods.length) root.append(el("h2", {}, "Methods"), methodTable(methods));
  const facts = [["options", (record.overrides || []).join("  ") || "none"], ["finished", (record.finished || "–").replace("T", " ")], ["device", `${record.device || "–"}, ${plural(record.threads || 1, "thread")}`],
    ["seeds", (record.compared || []).join(", ")], ["commit", record.commit || "–"]].filter(([, value]) => value);
  root.append(el("h2", {}, "What was run"), pairs(facts));
  const stages = Object.entries(record.seconds || {});
  if (stages.length) root.append(el("h2", {}, "Seconds"), pairs(stages.map(([stage, value]) => [stage, seconds(value)]), "narrow"));
  if (record.versions) root.append(el("h2", {}, "Versions"), pairs(Object.entries(record.versions), "narrow"));
  if (record.config) root.append(settings(flattened(record.config)));
  return () => {};
});

function methodTable(methods) {
  const line = ([label, about]) => el("tr", {}, el("th", {scope: "row"}, swatchOf(label), nameTag(label)), el("td", {class: "num", "data-label": "damping"}, about.damping === undefined ? "–" : typeof about.damping === "number" ? number(about.damping) : nameTag(String(about.damping))),
    el("td", {class: "num", "data-label": "seconds"}, Number.isFinite(about.seconds) ? seconds(about.seconds) : "–"),
    el("td", {"data-label": "notes"}, about.failed ? el("p", {class: "warning"}, "no scores: ", clippedText(about.failed)) : null, (about.notes || []).map((note) => el("p", {class: "small"}, clippedText(note)))));
  return el("table", {class: "values"}, el("thead", {}, el("tr", {}, ["method", "damping", "seconds", "notes"].map((title, place) => el("th", {scope: "col", class: place === 1 || place === 2 ? "num" : null}, title)))), el("tbody", {}, methods.map(line)));
}

function swatchOf(label) {
  const place = data.methods.findIndex((method) => method.label === label);
  return place < 0 ? null : swatch(place);
}

function settings(entries) {
  const list = el("div", {class: "settings"}), filter = el("input", {type: "search", placeholder: "part of a key", "aria-label": "filter settings"});
  const draw = () => list.replaceChildren(pairs(entries.filter(([key]) => key.includes(filter.value)), "keys"));
  filter.addEventListener("input", draw);
  draw();
  return el("details", {}, el("summary", {}, `All ${entries.length} settings`), filter, list);
}
