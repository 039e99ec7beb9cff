// The operator's pages: polling, keys, selection, the chart. Every page works without this file for reading.
"use strict";

(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  // A log-in link carries its one-time code in the fragment, which is never sent to a server or a log.
  const login = one("#login");
  const code = new URLSearchParams(location.hash.slice(1)).get("once");
  if (code) history.replaceState(null, "", location.pathname + location.search); // also if a session exists already
  if (login && code) {
    login.elements.secret.value = code;
    login.requestSubmit();
  }

  // Polling: not while the page is hidden, nor while an operator works inside the part that would be replaced.
  const etags = new Map();
  const busy = () => document.hidden || one("#keys[open]")
    || one("#live input:checked, #live details[open] form, #live :is(input, select, textarea):focus");
  document.addEventListener("htmx:configRequest", (event) => {
    if (busy()) {
      event.preventDefault();
    } else if (etags.has(event.detail.path)) {
      event.detail.headers["If-None-Match"] = etags.get(event.detail.path);
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const etag = event.detail.xhr.getResponseHeader("ETag");
    // The operator may have selected something since the request: the next poll asks again.
    if (busy()) event.detail.shouldSwap = false;
    else if (etag) etags.set(event.detail.requestConfig.path, etag);
    opened = one("#live details.chart-table")?.open;
    place = rows().findIndex((row) => row.classList.contains("current"));
  });
  let opened = false;
  let place = -1;
  document.addEventListener("htmx:afterSettle", () => {
    if (opened) one("#live details.chart-table")?.setAttribute("open", "");
    rows()[place]?.classList.add("current");
    ready();
  });

  // Rows
  const rows = () => all("[data-row]");
  const current = () => one("[data-row].current");
  const move = (step) => {
    const list = rows();
    const at = list.indexOf(current());
    const next = list[Math.min(Math.max(at + step, 0), list.length - 1)];
    if (!next) return false;
    current()?.classList.remove("current");
    next.classList.add("current");
    next.scrollIntoView({ block: "nearest" });
    next.querySelector("a")?.focus({ preventScroll: true });
    return true;
  };

  // Selection
  const boxes = () => all("[data-selection] input[name=id]");
  const showCount = () => {
    const number = boxes().filter((box) => box.checked).length;
    for (const area of all("[data-selected-count]")) area.textContent = number ? `${number} selected` : "";
    for (const button of all("[data-selection] button[name=action]")) button.disabled = !number;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) boxes().forEach((box) => { box.checked = event.target.checked; });
    showCount();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-keys]")) one("#keys").showModal();
  });

  // Keys
  const press = (key) => {
    const target = one(`[data-key="${key}"]:not([disabled])`);
    if (target) target.click();
    return Boolean(target);
  };
  const bindings = {
    "/": () => { const field = one(".search input[type=search]"); field?.focus(); return Boolean(field); },
    "j": () => move(1) || press("j"),
    "k": () => move(-1) || press("k"),
    "x": () => { const box = current()?.querySelector("input[name=id]"); box?.click(); return Boolean(box); },
    "r": () => press("r"),
    "e": () => press("e"),
    "d": () => press("d"),
    "?": () => { one("#keys")?.showModal(); return true; },
  };
  for (const link of all("[data-go]")) bindings[`g ${link.dataset.go}`] = () => { link.click(); return true; };
  const plain = (event) => !event.target.matches("input:not([type=checkbox]), textarea, select") && !one("dialog[open]");
  bindings["Shift+?"] = bindings["?"]; // depends on the keyboard
  tinykeys.tinykeys(window, Object.fromEntries(Object.entries(bindings).map(([keys, act]) => [keys, (event) => {
    if (plain(event) && act()) event.preventDefault();
  }])), { ignore: () => false });

  // Chart: drawn from the table, which is what a reader without JavaScript has.
  const draw = () => {
    const area = one("[data-chart]");
    const table = one("[data-chart-data]");
    if (!area || !table || !window.uPlot) return;
    const lines = all("tbody tr", table).sort((a, b) => a.dataset.at - b.dataset.at);
    const step = Number(table.dataset.step) || 3600;
    // A step begins at its hour or day: the last one needs a point at its end.
    const ended = (values) => [...values, values.at(-1)];
    const column = (index) => ended(lines.map((line) => Number(line.cells[index].textContent.replaceAll(",", ""))));
    const times = lines.map((line) => Number(line.dataset.at));
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const stepped = uPlot.paths.stepped({ align: 1 });
    const series = (label, name, fill) => ({
      label, stroke: colour(name), width: lines.length > 100 ? 1 : 2, paths: stepped, points: { show: false },
      fill: fill ? `${colour(name)}22` : undefined,
    });
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const colours = ["--accent", "--good", "--bad", "--warn", "--soft"];
    const headings = all("thead th", table).slice(1).map((heading) => heading.textContent);
    const daily = step >= 86400;
    area.hidden = false;
    area.replaceChildren();
    new uPlot({
      width: area.clientWidth, height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(high, 4)] } },
      axes: [{ ...axis, values: daily ? "{MM}-{DD}" : "{HH}:00", space: 60 }, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }],
      series: [
        { value: daily ? "{YYYY}-{MM}-{DD}" : "{YYYY}-{MM}-{DD} {HH}:00 UTC" },
        ...headings.map((heading, index) => series(heading, colours[index], index === 0)),
      ],
    }, [[...times, times.at(-1) + step], ...headings.map((_heading, index) => column(index + 1))], area);
  };
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const ready = () => {
    for (const element of all("[data-keys], [data-select-all]")) element.hidden = false;
    showCount();
    draw();
  };
  ready();
  for (const tab of all(".tabs [aria-current]")) tab.scrollIntoView({ block: "nearest", inline: "nearest" });

  // An edit or a discard of many goes on batch after batch while its page is open; the pause leaves time to cancel.
  const next = one("form[data-continue]");
  if (next) setTimeout(() => next.requestSubmit(), 400);
})();
