// Shows each answer of the gateway as the events of crmgate.js carry it.
"use strict";

const MEANING = {
  "crmgate:delivered": "Delivered: the CRM has it",
  "crmgate:accepted": "Accepted: it is recorded and will reach the CRM",
  "crmgate:error": "Not accepted",
};

function show(event) {
  const title = document.createElement("b");
  title.textContent = MEANING[event.type];
  const answer = document.createElement("pre");
  answer.textContent = JSON.stringify(event.detail, null, 2);
  const entry = document.createElement("li");
  entry.className = event.type.replace("crmgate:", "");
  entry.append(title, answer);
  document.getElementById("answers").prepend(entry);
  document.getElementById("nothing").hidden = true;
}

for (const type of Object.keys(MEANING)) document.addEventListener(type, show);
