// Keeps the open page up to the node, draws its charts, and lets "/" reach the search field. Without it every page still
// shows everything; a chart's numbers are behind the link below it.
"use strict";

const ASK_EVERY_MS = 1000;
const DRAW_EVERY_MS = 5000;
const body = document.body;
let shown = body.dataset.revision;
let drawn = 0;

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    const field = document.getElementById("q");
    field.focus();
    field.select();
  }
});

// -- what is new ------------------------------------------------------------------------------------------------------

function say(text) {
  const place = document.getElementById("live");
  if (place.textContent !== text) place.textContent = text;
}

// A place in a replaced part that had the focus gets it back: the same link, by where it leads.
function exchange(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  const held = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const known = new Set([...old.querySelectorAll("tr[id]")].map((row) => row.id));
  const left = old.scrollLeft;
  old.replaceChildren(...fresh.childNodes);
  old.scrollLeft = left;
  if (known.size) {
    for (const row of old.querySelectorAll("tr[id]")) row.classList.toggle("new", !known.has(row.id));
  }
  if (held !== null) {
    for (const link of old.querySelectorAll("a[href]")) {
      if (link.getAttribute("href") === held) {
        link.focus({ preventScroll: true });
        break;
      }
    }
  }
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (fresh) exchange(old, fresh);
  }
  shown = page.body.dataset.revision;
  if (Date.now() - drawn > DRAW_EVERY_MS) draw();
}

async function look() {
  try {
    if (!document.hidden) {
      const { revision } = await (await fetch("/pulse", { cache: "no-store" })).json();
      if (String(revision) !== shown) await refresh();
      say("live");
    }
  } catch {
    say("the node does not answer");
  }
  setTimeout(look, ASK_EVERY_MS);
}

// -- charts -----------------------------------------------------------------------------------------------------------

let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = body.dataset.plotly;
    script.onload = () => resolve(window.Plotly);
    script.onerror = reject;
    document.head.append(script);
  });
  return loading;
}

function dress(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("grid"), linecolor: colour("edge"), automargin: true };
  return {
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
    colorway: [0, 1, 2, 3, 4, 5, 6, 7].map((number) => colour(`c${number}`)),
    font: { family: getComputedStyle(body).fontFamily, size: 12, color: colour("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("edge"), font: { color: colour("ink") } },
    margin: { l: 48, r: 8, t: 8, b: 40 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hovermode: "x unified",
  };
}

async function drawOne(place) {
  const [library, answer] = await Promise.all([plotly(), fetch(place.dataset.chart, { cache: "no-store" })]);
  if (!answer.ok) return;
  const figure = await answer.json();
  place.classList.toggle("many", figure.data.length > 3); // their names take lines of their own on a phone
  await library.react(place, figure.data, dress(figure.layout), { displayModeBar: false, responsive: true });
}

const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !seen.has(entry.target)) {
      seen.add(entry.target);
      drawOne(entry.target).catch(() => seen.delete(entry.target));
    }
  }
}, { rootMargin: "200px" });

function draw() {
  drawn = Date.now();
  for (const place of seen) drawOne(place).catch(() => {});
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

// After the first paint: the library is large, and the page is readable without it.
requestAnimationFrame(() => requestAnimationFrame(() => {
  const places = document.querySelectorAll("[data-chart]");
  for (const place of places) watcher.observe(place);
  body.classList.add("loading");
}));

setTimeout(look, ASK_EVERY_MS);
