/* crmgate.js sends every <form data-crmgate> to the gateway, once, whatever the network does: docs/website.md.
   This is the source. `make js` makes crmgate/web/static/crmgate.js of it, which the gateway serves. */
(() => {
  const MONTH = 30 * 864e5;
  const HELD = 23 * 36e5; // the gateway knows a key for 24 hours: sent later, a submission could become a second lead
  const RETRIES = 5; // after about 1, 2, 4, 8 and 16 seconds
  const PATIENCE = 6e4; // a longer wait is left to the next page view
  const PREFIX = "crmgate:";
  const PENDING = PREFIX + "pending:";
  const FORM = "form[data-crmgate]";
  const LINK = 'a[href*="/go/"]';
  const DESCRIBED = "aria-describedby";
  const LONGEST = 500; // characters of a value that is kept; the gateway takes more, but such a value is no campaign
  const MOST = 10; // utm_ parameters: the gateway refuses a form with more than 50 unknown fields
  const PAIR = /^(checkbox,hidden|hidden(,radio)+)$/; // the hidden control is the value of a box that is not ticked

  const page = document;
  const script = page.currentScript;
  const gateway = new URL(script.dataset.gateway || "..", script.src).href;
  const now = () => Date.now();
  const newId = () => crypto.randomUUID?.() || crypto.getRandomValues(new Uint32Array(4)).join("-"); // https or http
  const set = (element, name, value) => element.setAttribute(name, value);

  // --- What the browser keeps: in localStorage, or where that is forbidden only as long as the page is open

  let storage;
  let forgetful;
  try {
    storage = localStorage;
  } catch {
    storage = forgetful = {};
  }

  const read = (name) => {
    try {
      return JSON.parse(storage[name]);
    } catch {}
  };

  const write = (name, value) => {
    try {
      storage[name] = JSON.stringify(value);
    } catch {} // storage is full: the submission is sent nevertheless
  };

  // The value that is stored under this name for 30 days. The first value stays: `fresh` is used only without one.
  // A value that the gateway would refuse (`takes`) is neither stored nor sent.
  const keep = (name, fresh, takes) => {
    const known = read((name = PREFIX + name));
    if (known?.until > now() && takes(known.value)) return known.value;
    delete storage[name];
    if (!takes(fresh)) return;
    write(name, { value: fresh, until: now() + MONTH });
    return fresh;
  };

  // --- Attribution: session, referral code and campaign

  const isText = (value) => value?.trim?.() && value.length <= LONGEST;
  const isToken = (value) => isText(value) && /^[\w.-]{1,64}$/.test(value);
  const isUtm = ([name, value]) => /^utm_.{1,60}$/.test(name) && isText(value);
  const isCampaign = (all) => Object.keys(all || {})[0] && Object.entries(all).every(isUtm);

  const query = new URLSearchParams(location.search);
  const ref = keep("ref", query.get("ref"), isText);
  const old = forgetful && /crmgate_session=([\w.-]+)/.exec(page.cookie)?.[1];
  const session = keep("session", isToken(old) ? old : newId(), isToken);
  if (forgetful) page.cookie = `crmgate_session=${session};path=/;max-age=${MONTH / 1e3};samesite=lax`;
  const utm = {}; // the first value of a parameter that occurs twice
  for (const [name, value] of [...query].filter(isUtm).slice(0, MOST)) utm[name] ??= value;
  const campaign = { ref, ...keep("utm", utm, isCampaign) };
  const visitor = { session, ...campaign };

  // Adds facts to the fields of a form or the query of a link. Existing values take precedence. One existing utm_ value
  // keeps all others out: the source of one campaign and the medium of another would be a third campaign.
  const identify = (fields, facts) => {
    const group = (name) => /^(ref($|erral)|utm|session)/.exec(name)?.[0].slice(0, 3);
    const own = [...fields].map(([name, value]) => value && group(name));
    for (const name in facts) if (facts[name] && !own.includes(group(name))) fields.set(name, facts[name]);
  };

  // Adds facts to a link to the gateway. Returns the earlier address of the link.
  const extend = (link, facts) => {
    const { href } = link;
    if (href.startsWith?.(gateway + "go/")) {
      const url = new URL(href);
      identify(url.searchParams, facts);
      link.href = url;
    }
    return href;
  };

  // A link has the session only while it is clicked: a copied link contains no session. The right button
  // opens the menu with which links are copied.
  const leave = ({ target, button }) => {
    const link = button < 2 && target.closest?.(LINK);
    const href = link && extend(link, visitor);
    if (href) setTimeout(() => (link.href = href));
  };

  // --- Sending

  const running = {}; // key -> the promise of its answer
  const sleepers = []; // wake them early; waking twice does nothing
  const forget = (key) => delete storage[PENDING + key];
  const pending = () =>
    Object.keys(storage)
      .filter((name) => name.startsWith(PENDING))
      .map(read)
      .filter((item) => item); // another tab may have ended it meanwhile

  // An answer is final if it comes from the gateway and accepts or refuses the submission. Anything else, such as the
  // page of a proxy or of a hotel's login, is no answer. `keepalive` lets the request outlive the page; unlike
  // sendBeacon it can carry the key. Browsers allow it for 64 KB.
  const attempt = async ({ key, url, body }) => {
    try {
      const response = await fetch(url, {
        method: "POST",
        body: new URLSearchParams(body),
        headers: { "Idempotency-Key": key },
        keepalive: body.length < 6e4,
        signal: AbortSignal.timeout(3e4),
      });
      const data = await response.json();
      return {
        data,
        wait: response.headers.get("Retry-After") * 1e3,
        final: response.ok ? data.id : data.type && !/409|429|5../.test(response.status),
      };
    } catch {
      return {};
    }
  };

  const persist = async (item, retrying) => {
    for (let round = 0; ; round++) {
      const { data, wait, final } = await attempt(item);
      if (final) {
        forget(item.key);
        return data;
      }
      const pause = Math.max(wait || 0, 1e3 * 2 ** round * (0.75 + Math.random() / 2));
      if (round == RETRIES || pause > PATIENCE) return;
      retrying?.();
      await new Promise((wake) => {
        sleepers.push(wake);
        setTimeout(wake, pause);
      });
    }
  };

  // The gateway's answer: a receipt or a problem; undefined without an answer.
  const send = (item, retrying) =>
    (running[item.key] ||= persist(item, retrying).finally(() => delete running[item.key]));

  // Sends each submission without an answer again: at a page view, when the network is back, and when the page is left.
  const resend = () => {
    sleepers.forEach((wake) => wake());
    for (const item of pending()) {
      if (item.at < now() - HELD) forget(item.key);
      else if (!running[item.key]) send(item).then((answer) => answer && announce(page, answer));
    }
  };

  // Dispatches the event of an answer. Returns its name, or false if a listener has called `preventDefault`.
  const announce = (target, detail) => {
    const state = detail.type ? "error" : detail.status == "delivered" ? "delivered" : "accepted";
    const event = new CustomEvent(PREFIX + state, { bubbles: true, cancelable: true, detail });
    return target.dispatchEvent(event) && state;
  };

  // --- The forms

  const forms = new WeakMap(); // form -> what to do when it is submitted

  const prepare = (form) => {
    const since = now();
    let busy;
    let latest; // the key of its last submission
    let marks = []; // functions that remove an error, or say that it belongs to another field

    const add = (tag) => form.appendChild(page.createElement(tag));
    const area = form.querySelector("[data-crmgate-message]") || add("p");
    area.dataset.crmgateMessage = "";
    set(area, "role", "status");
    // Only a bot fills it in.
    if (!form.querySelector("[name=_hp]")) Object.assign(add("input"), { name: "_hp", hidden: true });

    // The message in an attribute of the field or the form (data-crmgate-invalid-email="..."), else the gateway's.
    const words = (key, text, controls = []) => {
      const name = "data-crmgate-" + key.replace(/_/g, "-");
      return [...controls, form].map((owner) => owner.getAttribute(name)).find((own) => own != null) ?? text;
    };

    const say = (state, text, key = state) => {
      area.dataset.state = state;
      area.textContent = words(key, text);
    };

    const lock = (yes) => {
      set(form, "aria-busy", (busy = yes));
      for (const control of form.elements) if (control.type == "submit") control.disabled = yes;
    };

    // The visible controls of a field that the gateway names: "personal_info.phone" may be called phone,
    // personal_info[phone], personalInfo.phone or phone_number here.
    const controlsOf = (path) => {
      const plain = (name) => name.toLowerCase().replace(/[^a-z]/g, "");
      const [group, leaf = group] = path.split(".").map(plain);
      const visible = [...form.elements].filter(({ name, type }) => name && type != "hidden");
      const find = (test) => visible.find(({ name }) => test(plain(name), name));
      const found =
        find((name, own) => own == path || [leaf, group + leaf, group].includes(name)) ||
        find((name) => leaf && name.includes(leaf));
      return visible.filter(({ name }) => name == found?.name);
    };

    const mark = (controls, text) => {
      const last = controls[controls.length - 1];
      const note = page.createElement("span");
      note.id = newId();
      note.className = "crmgate-error";
      note.textContent = text;
      set(note, "role", "alert");
      (last.closest("label") || last).after(note);
      const before = controls.map((control) => control.getAttribute(DESCRIBED) || "");
      const describe = (wrong, id) =>
        controls.forEach((control, i) => {
          set(control, "aria-invalid", wrong);
          set(control, DESCRIBED, before[i] + id);
        });
      describe(true, " " + note.id);
      marks.push((name) => (name && name != last.name) || describe(false, "") || note.remove());
    };

    const unmark = (name) => (marks = marks.filter((remove) => remove(name)));

    const refuse = ({ type, detail, errors = [] }) => {
      const texts = [words(type.split("/").pop(), detail)];
      const marked = errors.flatMap(({ field, code, message }) => {
        const controls = controlsOf(code == "contact_required" ? "email" : field);
        const text = words(code, message, controls);
        if (controls[0]) mark(controls, text);
        else texts.push(text);
        return controls;
      });
      say("error", texts.join(" "), "");
      marked[0]?.focus();
    };

    const conclude = (answer, next) => {
      const state = announce(form, answer);
      if (state == "error") refuse(answer);
      else if (state) {
        const thanks = words(state, "Thank you. Your tracking code is {code}.");
        say(state, thanks.replace("{code}", answer.tracking_code), "");
        HTMLFormElement.prototype.reset.call(form); // a field may be called "reset"
        if (/^http/.test(next)) location.assign(next);
      }
    };

    const typesOf = (field) =>
      [...form.elements].filter(({ name }) => name == field).map(({ type }) => type).sort().join();

    // Leaves only texts: the names of files, never their contents, and one value of a hidden control and its box.
    const simplify = (fields) => {
      for (const name of new Set([...fields.keys()])) {
        const values = fields.getAll(name);
        const files = values.filter(({ name }) => name != null).map(({ name }) => name);
        if (files[0]) fields.set(name, files.join(", ").slice(0, LONGEST));
        else if (files.length) fields.delete(name); // an empty file input has a file without a name
        else if (PAIR.test(typesOf(name))) fields.set(name, values.pop());
      }
    };

    // The same content is the same submission, however often it is sent. Corrected content replaces the waiting one.
    const remember = (url, content) => {
      content += "&_t=";
      const body = content + (now() - since);
      const same = (item) => item.url == url && item.body.startsWith(content);
      const item = pending().find(same) || { key: newId(), url, body, at: now() };
      forget(latest);
      latest = item.key;
      write(PENDING + latest, item);
      return item;
    };

    forms.set(form, async (event) => {
      if (event.defaultPrevented) return;
      event.preventDefault();
      if (busy) return;
      unmark();
      const fields = new FormData(form, event.submitter);
      simplify(fields);
      const url = new URL(form.getAttribute("action") || gateway + "api/v1/applications", location).href;
      const goal = form.dataset.crmgateRedirect;
      const next = goal || fields.get("_next");
      fields.delete("_next");
      fields.delete("_t");
      identify(fields, visitor);
      lock(true);
      say("sending", "");
      const item = remember(url, "" + new URLSearchParams(fields));
      const answer = await send(item, () => say("retrying", "Trying again …"));
      lock(false);
      // The gateway reads `_next` as relative to itself.
      conclude(answer || { type: "unreachable", detail: "It could not be sent. Please try again later." },
        next && new URL(next, goal ? location : url));
    });
    form.addEventListener("input", ({ target }) => unmark(target.name));
  };

  const dress = (root) => {
    root.querySelectorAll(LINK).forEach((link) => extend(link, campaign));
    root.querySelectorAll(FORM).forEach((form) => forms.has(form) || prepare(form));
  };

  page.addEventListener("submit", (event) => forms.get(event.target)?.(event));
  addEventListener("click", leave, true);
  addEventListener("auxclick", leave, true); // the middle button
  addEventListener("online", resend);
  addEventListener("pagehide", resend);
  new MutationObserver((changes) => changes.forEach(({ target }) => dress(target)))
    .observe(page, { childList: true, subtree: true });
  dress(page);
  resend();
})();
