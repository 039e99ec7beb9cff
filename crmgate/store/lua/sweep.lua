-- Everything that has to happen by itself: lost wake-ups, room for those that wait, the end of an outage.
-- a: now, again (next alarm), limit (wake-ups that may wait before no more are added), batch (dead letters that return at
--    once), probe (seconds between two), first (the same while an outage is young), young (seconds)
-- ARGV[2]: what is noted on an operation that returns
-- Answers {woken, returned, 1 if the caller is to probe the provider}.
despite_full()
local returned, probe = 0, 0

-- Another CRM was the active one: what waits for it goes to this one, or finds out that it cannot.
for _, provider in ipairs(to.active and redis.call('SMEMBERS', P .. 'providers') or {}) do
  if provider ~= to.provider then
    local before = P .. 'held:' .. provider
    for _, id in ipairs(redis.call('ZRANGE', before, 0, 99)) do
      redis.call('ZREM', before, id)
      redis.call('ZADD', DUE, a.now, id)
    end
    if redis.call('ZCARD', before) == 0 then redis.call('SREM', P .. 'providers', provider) end
  end
end

local cause, till, failures, healthy, asked, since =
  unpack(redis.call('HMGET', GATE, 'cause', 'until', 'failures', 'healthy_at', 'probe_at', 'since'))
if not cause then
  local doubtful = failures or redis.call('ZCOUNT', RETURNING, '-inf', a.now) > 0
  if not failures then
    hurry()
    if tonumber(healthy or 0) > a.now - a.probe then
      -- Bounded twice: so many at once, and none while others wait.
      local batch = math.max(a.batch - redis.call('ZCARD', HELD), 0)
      local ids = batch > 0 and redis.call('ZRANGEBYSCORE', RETURNING, '-inf', a.now, 'LIMIT', 0, batch) or {}
      for _, id in ipairs(ids) do
        redis.call('HINCRBY', op(id), 'returns', 1)
        revive(id, ARGV[2])
      end
      returned = #ids
      if returned > 0 then redis.call('HINCRBY', STATS, 'returned', returned) end
      doubtful = false
    end
  end
  if doubtful and tonumber(asked or 0) <= a.now then
    redis.call('HSET', GATE, 'probe_at', a.now + a.probe)
    probe = 1
  end
  pump_all()
elseif cause == 'outage' then
  if tonumber(till) <= a.now then
    redis.call('HSET', GATE, 'until', a.now + (a.now < since + a.young and a.first or a.probe))
    probe = 1
  end
elseif not shut() then
  pump(1)  -- the operation that tries the credentials
end

-- A long list of wake-ups means busy workers, not lost ones: more would only make it longer.
local space = a.limit - redis.call('LLEN', WAKES)
local ids = space > 0 and redis.call('ZRANGEBYSCORE', DUE, '-inf', a.now, 'LIMIT', 0, space) or {}
for _, id in ipairs(ids) do
  redis.call('ZADD', DUE, a.again, id)
  wake(id)
end
return {#ids, returned, probe}
