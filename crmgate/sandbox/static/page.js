// Fetches what changed once a second and puts it in its place. The server renders and escapes; nothing is built here.
"use strict";

const EVERY = 1000;
const KEPT = 200;
const leads = document.getElementById("leads");
const form = document.getElementById("behaviour");
const live = document.getElementById("live");
let revision = Number(leads.dataset.revision);

function localTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
  }
}

function openDetails(lead) {
  return [...lead.querySelectorAll("details[open]")].map((details) => details.dataset.part);
}

function place({ id, html }) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const lead = template.content.firstElementChild;
  localTimes(lead);
  lead.classList.add("arrived");
  const known = document.getElementById(`lead-${id}`);
  if (known) {
    for (const part of openDetails(known)) lead.querySelector(`details[data-part="${part}"]`)?.setAttribute("open", "");
    known.replaceWith(lead);
  } else if (id > Number(leads.firstElementChild?.dataset.id ?? 0)) {
    leads.prepend(lead);
  }
}

function show(update) {
  if (update.revision < revision) return location.reload(); // another database: begin again
  revision = update.revision;
  update.leads.forEach(place);
  while (leads.children.length > KEPT) leads.lastElementChild.remove();
  document.getElementById("empty").hidden = update.counts.leads > 0;
  for (const count of document.querySelectorAll("[data-count]")) count.textContent = update.counts[count.dataset.count];
  form.dataset.mode = update.mode;
  form.querySelector(".sentence").textContent = update.sentence;
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-pressed", button.value === update.mode);
}

function connected(yes) {
  if (yes && live.classList.contains("lost")) location.reload(); // a restarted server takes no form of the old page
  live.hidden = false;
  live.classList.toggle("lost", !yes);
  live.textContent = yes ? "Live" : "No connection";
}

async function poll() {
  try {
    const answer = await fetch(`/updates?since=${revision}`);
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    connected(true);
  } catch {
    connected(false);
  }
  setTimeout(poll, EVERY);
}

localTimes(document);
if ("live" in leads.dataset) poll();
