-- Do everything that time alone triggers: replace lost wake-ups, wake operations that may be sent, end an outage.
-- Arguments:
--   again  seconds until the next alarm of an operation that is woken
--   limit  number of waiting wake-ups from which no more are added
--   batch  number of dead letters that return at once
--   lease  longest duration of a lease, in seconds
--   wait   longest time that an operation may have to wait for its next attempt, in seconds
--   suspect_age      age at which a suspect is discarded, in seconds
--   suspect_event    event that is added to the history of such a suspect
--   suspect_receipt  seconds for which its receipt is kept
--   to     provider
-- ARGV[2]: event that is added to the history of an operation that returns
-- Answers {number of operations woken, number of dead letters returned, 1 if the caller is to test the connection,
-- 'recovered' if listeners have to be notified of it, else ''}.
despite_full()
local returned, probe = 0, 0

-- Redis's clock may be set back. A wait that is then longer than its limit is shortened to that limit;
-- not less, because an attempt may be under way. A second more keeps the next sweep from finding the same ones again.
local function overlong(set, longest)
  return redis.call('ZRANGEBYSCORE', set, a.now + longest + 1, '+inf', 'LIMIT', 0, a.limit)
end
local function cap(set, longest)
  for _, member in ipairs(overlong(set, longest)) do redis.call('ZADD', set, a.now + longest, member) end
end
for _, id in ipairs(overlong(key.due, a.wait)) do
  local longest_alarm = redis.call('HGET', op(id), 'state') == 'delivering' and a.lease or a.wait
  redis.call('ZADD', key.due, a.now + longest_alarm, id)
  for field, longest in pairs({due_at = a.wait, lease_until = a.lease}) do
    local at = tonumber(redis.call('HGET', op(id), field) or 0)
    if at > a.now + longest then redis.call('HSET', op(id), field, a.now + longest) end
  end
end
cap(key.wake_schedule, a.wait)
cap(key.returning, RETURN_WAITS[#RETURN_WAITS])
cap(SLOTS, a.lease)
local as_it_was = read_gate()
write_gate(as_it_was, cap_times(as_it_was, a.now, RULES))

-- If another CRM was the active one before, operations that wait for it are attempted now: this CRM gets them, or they fail.
for _, provider in ipairs(to.active and redis.call('SMEMBERS', key.providers) or {}) do
  if provider ~= to.provider then
    local before, tried = key.held .. provider, key.tried .. provider
    if redis.call('EXISTS', before) == 0 and redis.call('EXISTS', tried) == 1 then redis.call('RENAME', tried, before) end
    for _, id in ipairs(redis.call('ZRANGE', before, 0, 99)) do
      redis.call('ZREM', before, id)
      redis.call('ZADD', key.due, a.now, id)
    end
    if redis.call('EXISTS', before, tried) == 0 then redis.call('SREM', key.providers, provider) end
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.suspect, '-inf', a.now - a.suspect_age, 'LIMIT', 0, 100)) do
  discard(id, a.suspect_event, a.suspect_receipt)
  end_in_index(id, a.suspect_receipt)
  redis.call('HINCRBY', key.stats, 'suspects_expired', 1)
end

local gate = read_gate()
local doubtful = redis.call('ZCOUNT', key.returning, '-inf', a.now) > 0
if not gate.cause and not gate.failures then
  hurry()
  if tonumber(gate.healthy_at or 0) > a.now - RULES.probe then
    -- At most one batch returns, less the number of operations that wait for the provider.
    local batch = math.max(a.batch - redis.call('ZCARD', HELD) - redis.call('ZCARD', TRIED), 0)
    local ids = batch > 0 and redis.call('ZRANGEBYSCORE', key.returning, '-inf', a.now, 'LIMIT', 0, batch) or {}
    for _, id in ipairs(ids) do
      redis.call('HINCRBY', op(id), 'returns', 1)
      revive(id, ARGV[2])
    end
    returned = #ids
    if returned > 0 then redis.call('HINCRBY', key.stats, 'returned', returned) end
    doubtful = false
  end
end
local what, again = next_probe(gate, a.now, to.credentials, doubtful, RULES)
if what == 'test' then
  redis.call('HSET', GATE, gate.cause and 'until' or 'probe_at', again)
  probe = 1
elseif what == 'operation' then
  pump_probe()
end
pump_all()
local effect = judge({what = 'quiet'})

-- A long list of wake-ups means busy workers, not lost ones: more would only make it longer.
local space = a.limit - redis.call('LLEN', key.wake_list)
local overdue = space > 0 and redis.call('ZRANGEBYSCORE', key.due, '-inf', a.now, 'LIMIT', 0, space) or {}
for _, id in ipairs(overdue) do
  redis.call('ZADD', key.due, a.now + a.again, id)
  wake(id)
end
return {#overdue, returned, probe, effect.announce or ''}
