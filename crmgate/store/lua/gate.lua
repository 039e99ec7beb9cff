-- Decisions about a provider's gate. Pure: no function here calls Redis, so that a table of cases can test them.
--
-- decide(gate, event, rules) answers the gate after the event, and what follows from it (`effect`).
-- A gate is a table of strings and numbers, as HGETALL gives it:
--   cause       why nothing is sent: outage, refused, limited, epidemic or paused; nil while it is open
--   since       when it was shut for this cause
--   until       before this time no probe is sent
--   by          the credentials that were refused (a fingerprint)
--   confirmed   '1': the connection test found the credentials refused as well
--   reason      the refusal that different operations met in a row (epidemic)
--   failures    failures of the kind `Unavailable` in a row
--   failed_at   the last of them
--   refusal     the last refusal of an operation: its code and field or vendor code
--   streak      the ids of the different operations that met it in a row, separated by spaces
--   limited_since  when the CRM began to say "too many requests"
--   vouched_at  when the last connection test began that passed
--   healthy_at  when the CRM last worked: a test that passed or a delivery
--   verified    the credentials that worked last
--   window      attempts that may run at once after the gate was shut; nil: no limit of this kind
--   incident    the cause that was announced to listeners last; nil after its end was announced
-- An effect has: opened (the cause that ended), shut (the new cause), hold (the operation waits instead of becoming a
-- dead letter or waiting for a time of its own), dead (it becomes a dead letter), returning (ids of dead letters that
-- return when the cause has ended), announce ('paused' or 'recovered': listeners have to be notified), confirm (the
-- connection test has to be run).

local function shut_gate(gate, effect, cause, now, till)
  if gate.cause ~= cause then
    gate.since = now
    effect.shut = cause
  end
  gate.cause, gate['until'], gate.window = cause, till, 1
end

local function open_gate(gate, effect)
  if not gate.cause then return end
  effect.opened = gate.cause
  gate.cause, gate['until'], gate.since, gate.by, gate.confirmed, gate.reason = nil, nil, nil, nil, nil, nil
end

-- Announce each incident once, also when the gate opens and shuts several times during it.
local function announce_pause(gate, effect)
  if gate.incident == gate.cause then return end
  gate.incident = gate.cause
  effect.announce = 'paused'
end

local function announce_recovery(gate, effect)
  if not gate.incident then return end
  gate.incident = nil
  effect.announce = 'recovered'
end

local function widen(gate, most)
  if not gate.window then return end
  local wider = tonumber(gate.window) + 1
  if wider >= most then gate.window = nil else gate.window = wider end
end

-- Add an operation to those that met the same refusal in a row. Answers their ids.
local function streak_with(gate, refusal, id)
  if gate.refusal ~= refusal then
    gate.refusal, gate.streak = refusal, ''
  end
  local ids = {}
  for known in string.gmatch(gate.streak or '', '%S+') do
    if known ~= id then ids[#ids + 1] = known end
  end
  ids[#ids + 1] = id
  gate.streak = table.concat(ids, ' ')
  return ids
end

local function on_delivered(gate, event, rules, effect)
  if gate.cause ~= 'paused' then open_gate(gate, effect) end
  gate.failures, gate.failed_at, gate.refusal, gate.streak, gate.limited_since = nil, nil, nil, nil, nil
  gate.verified, gate.healthy_at = event.credentials, event.now
  widen(gate, rules.most)
  announce_recovery(gate, effect)
end

local function on_unavailable(gate, event, rules, effect)
  local failures = tonumber(gate.failures or 0) + 1
  gate.failures, gate.failed_at = failures, event.now
  local may_shut = not gate.cause or gate.cause == 'limited' or gate.cause == 'epidemic'
  if may_shut and failures >= rules.threshold then
    shut_gate(gate, effect, 'outage', event.now, event.now + rules.first_probe)
    announce_pause(gate, effect)
  end
  if gate.cause then effect.hold = true end
end

-- The CRM refused one operation, and did not refuse the credentials.
-- event.answered: a response came; event.refusal: what was refused, '' if it can only concern this one record.
local function on_refusal(gate, event, rules, effect)
  if event.answered then
    gate.failures, gate.limited_since, gate.verified = nil, nil, event.credentials
    local proves = gate.cause == 'refused' or gate.cause == 'outage' or gate.cause == 'limited'
    if proves then open_gate(gate, effect) end
  end
  effect.dead = true
  if event.refusal == '' then return end
  local ids = streak_with(gate, event.refusal, event.id)
  if gate.cause == 'epidemic' then
    gate['until'] = event.now + rules.epidemic_probe
  elseif not gate.cause and #ids >= rules.epidemic_after then
    shut_gate(gate, effect, 'epidemic', event.now, event.now + rules.first_epidemic_probe)
    gate.reason = event.refusal
    ids[#ids] = nil
    effect.returning = ids
    announce_pause(gate, effect)
  end
  if gate.cause == 'epidemic' then effect.dead, effect.hold = nil, true end
end

-- The CRM refused the credentials, or the rights behind them, while it was asked for one operation.
-- Where a connection test has passed since the operation was refused the first time, the refusal is about the record.
local function on_login_refused(gate, event, rules, effect)
  if event.refused_at and tonumber(gate.vouched_at or 0) > event.refused_at then
    return on_refusal(gate, event, rules, effect)
  end
  effect.hold = true
  if gate.cause == 'paused' or (gate.cause == 'refused' and gate.by == event.credentials) then return end
  shut_gate(gate, effect, 'refused', event.now, event.now)
  gate.by, gate.confirmed, gate.verified = event.credentials, nil, nil
  effect.confirm = true
end

-- Too many requests. event.wait: seconds until the CRM may be asked again, nil if it did not say.
local function on_limited(gate, event, rules, effect)
  effect.hold = true
  gate.limited_since = tonumber(gate.limited_since or event.now)
  local grown = rules.limit_growth * (event.now - gate.limited_since)
  local wait = event.wait or math.max(grown, rules.limit_first)
  local till = event.now + math.min(wait, rules.limit_most)
  if not gate.cause or gate.cause == 'limited' then
    shut_gate(gate, effect, 'limited', event.now, till)
  elseif gate.cause == 'epidemic' then
    gate['until'] = till
  end
end

local function on_probe_passed(gate, event, rules, effect)
  gate.vouched_at, gate.healthy_at, gate.verified = event.began, event.now, event.credentials
  if gate.cause == 'outage' or gate.cause == 'refused' then open_gate(gate, effect) end
  -- Half-open: while an announced incident has not ended, the next failure shuts the gate again.
  if gate.incident then gate.failures = rules.threshold - 1 else gate.failures = nil end
end

local function on_probe_refused(gate, event, rules, effect)
  if gate.cause == 'paused' then return end
  shut_gate(gate, effect, 'refused', event.now, event.now + rules.refused_probe)
  gate.by, gate.confirmed, gate.verified = event.credentials, '1', nil
  announce_pause(gate, effect)
end

local function on_probe_failed(gate, event, rules, effect)
  if gate.cause ~= 'refused' then return end
  if gate.confirmed then
    gate['until'] = event.now + rules.refused_probe
    return
  end
  gate.failed_at = event.now
  shut_gate(gate, effect, 'outage', event.now, event.now + rules.first_probe)
  announce_pause(gate, effect)
end

local function on_pause(gate, event, _, effect)
  shut_gate(gate, effect, 'paused', event.now, event.now)
end

-- An operator wants the provider to be tried now.
local function on_resume(gate, event, _, effect)
  gate.refusal, gate.streak, gate.limited_since = nil, nil, nil
  if gate.cause == 'paused' then
    open_gate(gate, effect)
  elseif gate.cause then
    gate['until'] = event.now
  end
end

-- No event for a while: an incident also ends when the CRM has worked for some time without a delivery.
local function on_quiet(gate, event, rules, effect)
  local failed, vouched = tonumber(gate.failed_at or 0), tonumber(gate.vouched_at or 0)
  if gate.cause or not gate.incident or vouched <= failed then return end
  if event.now - math.max(failed, tonumber(gate.opened_at or 0)) >= rules.quiet then announce_recovery(gate, effect) end
end

local HANDLERS = {
  delivered = on_delivered, unavailable = on_unavailable, refusal = on_refusal, login_refused = on_login_refused,
  limited = on_limited, probe_passed = on_probe_passed, probe_refused = on_probe_refused,
  probe_failed = on_probe_failed, pause = on_pause, resume = on_resume, quiet = on_quiet,
}

local function decide(before, event, rules)
  local gate, effect = {}, {}
  for name, value in pairs(before) do gate[name] = value end
  HANDLERS[event.what](gate, event, rules, effect)
  if effect.opened then gate.opened_at = event.now end
  return gate, effect
end

-- The gate without times that are further ahead than they can be: Redis's clock was set back after they were written.
local function cap_times(before, now, rules)
  local probed_by_operation = before.cause == 'limited' or before.cause == 'epidemic'
  local longest = {
    ['until'] = probed_by_operation and rules.limit_most or rules.refused_probe, probe_at = rules.probe,
    since = 0, failed_at = 0, limited_since = 0, vouched_at = 0, healthy_at = 0, opened_at = 0, tokens_at = 0,
  }
  local gate = {}
  for name, value in pairs(before) do
    local most = longest[name] and now + longest[name]
    gate[name] = most and tonumber(value) > most and most or value
  end
  return gate
end

-- Whether an operation may not be sent now. Credentials other than those that were refused may be tried.
-- A provider that is limited, or has an epidemic, lets one operation through as a probe once its time has come.
local function is_shut(gate, now, credentials)
  local cause = gate.cause
  if not cause then return false end
  if cause == 'paused' or cause == 'outage' then return true end
  if cause == 'refused' then return gate.by == credentials end
  return tonumber(gate['until']) > now
end

-- What a sweep does about the gate: 'test' (run the connection test), 'operation' (let one operation through) or nil,
-- and the time before which it is not done again. doubtful: something is wrong although the gate is open.
local function next_probe(gate, now, credentials, doubtful, rules)
  local cause = gate.cause
  if not cause then
    doubtful = doubtful or gate.failures or gate.incident
    if doubtful and tonumber(gate.probe_at or 0) <= now then return 'test', now + rules.probe end
    return nil
  end
  if cause == 'paused' or tonumber(gate['until']) > now then return nil end
  if cause == 'outage' then
    local young = now < tonumber(gate.since) + rules.young
    return 'test', now + (young and rules.first_probe or rules.probe)
  end
  if cause == 'refused' and gate.by == credentials then return 'test', now + rules.refused_probe end
  return 'operation', nil
end
