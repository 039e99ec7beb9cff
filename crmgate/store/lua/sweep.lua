-- Do everything that has to happen by itself: replace lost wake-ups, use free room, end an outage.
-- Arguments:
--   now          time of the caller
--   again        time of the next alarm of an operation that is woken
--   limit        number of waiting wake-ups from which no more are added
--   batch        number of dead letters that return at once
--   first_probe  seconds between two probes while an outage is young
--   later_probe  seconds between two probes after that
--   young        seconds for which an outage is young
--   to           provider
-- ARGV[2]: event that is added to the history of an operation that returns
-- Answers {number of operations woken, number of dead letters returned, 1 if the caller is to probe the provider}.
despite_full()
local returned, probe = 0, 0

-- Another CRM was the active one: the operations that wait for it go to this one, or fail with that reason.
for _, provider in ipairs(to.active and redis.call('SMEMBERS', key.providers) or {}) do
  if provider ~= to.provider then
    local before = key.held .. provider
    for _, id in ipairs(redis.call('ZRANGE', before, 0, 99)) do
      redis.call('ZREM', before, id)
      redis.call('ZADD', key.due, a.now, id)
    end
    if redis.call('ZCARD', before) == 0 then redis.call('SREM', key.providers, provider) end
  end
end

local cause, till, failures, healthy, asked, since =
  unpack(redis.call('HMGET', GATE, 'cause', 'until', 'failures', 'healthy_at', 'probe_at', 'since'))
if not cause then
  local doubtful = failures or redis.call('ZCOUNT', key.returning, '-inf', a.now) > 0
  if not failures then
    hurry()
    if tonumber(healthy or 0) > a.now - a.later_probe then
      -- Two bounds: the size of a batch, and none while as many others wait.
      local batch = math.max(a.batch - redis.call('ZCARD', HELD), 0)
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
  if doubtful and tonumber(asked or 0) <= a.now then
    redis.call('HSET', GATE, 'probe_at', a.now + a.later_probe)
    probe = 1
  end
  pump_all()
elseif cause == 'outage' then
  if tonumber(till) <= a.now then
    redis.call('HSET', GATE, 'until', a.now + (a.now < since + a.young and a.first_probe or a.later_probe))
    probe = 1
  end
elseif not shut() then
  pump(1)  -- the operation that tries the credentials
end

-- A long list of wake-ups means busy workers, not lost ones: more would only make it longer.
local space = a.limit - redis.call('LLEN', key.wake_list)
local overdue = space > 0 and redis.call('ZRANGEBYSCORE', key.due, '-inf', a.now, 'LIMIT', 0, space) or {}
for _, id in ipairs(overdue) do
  redis.call('ZADD', key.due, a.again, id)
  wake(id)
end
return {#overdue, returned, probe}
